"""LiteLLM with answers that come from memory the second time. Needs litellm; the key comes from OPENAI_API_KEY.

LiteLLM sends what it asks of OpenAI and of all servers that speak like it through these two clients. Importing it
downloads a list of prices first, unless LITELLM_LOCAL_MODEL_COST_MAP=True is in the environment.
"""

import litellm

import fastclient as fc

policy = fc.Policy.recommended()
litellm.client_session = fc.http_client(policy, family="httpx")  # for completion
litellm.aclient_session = fc.async_http_client(policy, family="httpx")  # for acompletion
litellm.return_response_headers = True

for _ in range(2):
    reply = litellm.completion("openai/gpt-5-mini", [{"role": "user", "content": "Where is my parcel?"}])
    print(reply._response_headers["x-fastclient-state"], reply.choices[0].message.content)
