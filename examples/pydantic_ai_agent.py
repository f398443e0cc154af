"""A Pydantic AI agent whose second run sends nothing. Needs pydantic-ai-slim[openai].

The key comes from OPENAI_API_KEY.
"""

import asyncio

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

import fastclient as fc


async def main() -> None:
    async with fc.async_http_client(fc.Policy.recommended()) as http:
        model = OpenAIChatModel("gpt-5-mini", provider=OpenAIProvider(http_client=http))
        agent = Agent(model, instructions="You work in a web shop.")
        for _ in range(2):
            result = await agent.run("Where is my parcel?")
            print(result.output)


asyncio.run(main())
