"""Anthropic's SDK, faster: the same question is asked once, and a late answer is asked for again. Needs anthropic.

The key comes from ANTHROPIC_API_KEY.
"""

import asyncio

from anthropic import AsyncAnthropic

import fastclient as fc


async def main() -> None:
    async with fc.wrap(AsyncAnthropic(max_retries=0), fc.Policy.recommended()) as client:
        for _ in range(2):
            async with client.messages.stream(
                model="claude-sonnet-5", max_tokens=200, messages=[{"role": "user", "content": "Where is my parcel?"}]
            ) as stream:
                print(stream.response.headers["x-fastclient-state"], end=" ")
                async for text in stream.text_stream:
                    print(text, end="", flush=True)
                print()


asyncio.run(main())
