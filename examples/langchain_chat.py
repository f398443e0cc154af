"""LangChain's ChatOpenAI with answers that come from memory the second time. Needs langchain-openai.

The key comes from OPENAI_API_KEY. With openai 3 alone, `family` may be left out: `httpx` fits openai 2 too.
"""

from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

import fastclient as fc

policy = fc.Policy.recommended()
model = ChatOpenAI(
    model="gpt-5-mini",
    http_client=fc.http_client(policy, family="httpx"),
    http_async_client=fc.async_http_client(policy, family="httpx"),
    include_response_headers=True,
)
chain = ChatPromptTemplate.from_messages([("system", "You work in a web shop."), ("user", "{question}")]) | model

for _ in range(2):
    reply = chain.invoke({"question": "Where is my parcel?"})
    print(reply.response_metadata["headers"]["x-fastclient-state"], reply.content)
