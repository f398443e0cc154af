"""Ask a question, and see where the time went. The key comes from OPENAI_API_KEY."""

import fastclient as fc

with fc.Client("openai:gpt-5-mini") as client:
    reply = client.chat("Name one prime.", max_tokens=16)
    print(reply.text)
    print(reply.timings)
