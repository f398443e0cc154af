"""Talk to a model on this machine: llama-server, vLLM, SGLang, Ollama or LM Studio. No key needed on loopback."""

import os

import fastclient as fc

url = os.environ.get("LOCAL_URL", "http://127.0.0.1:8080/v1")
with fc.Client("openai:local", base_url=url) as client:
    reply = client.chat("Hello", max_tokens=32)
    print(reply.text)
    print("prefill:", reply.timings.prefill, reply.timings.basis["prefill"])
