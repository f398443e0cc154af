"""Any function that calls a model, without an SDK: kept for an hour, and tried again when the server is in trouble.

The key comes from OPENAI_API_KEY.
"""

import os

import httpx2

import fastclient as fc

URL = os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1")
KEY = {"authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}


@fc.cached(ttl=3600)
@fc.retried
def ask(question: str) -> str:
    body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": question}]}
    response = httpx2.post(f"{URL}/chat/completions", json=body, headers=KEY, timeout=60)
    print("sent:", response.status_code)
    return response.raise_for_status().json()["choices"][0]["message"]["content"]


for _ in range(2):
    print(ask("Where is my parcel?"))
