"""Twenty calls at once on asyncio (or trio), with a limit on open connections and percentiles at the end."""

import anyio

import fastclient as fc

POLICY = fc.Policy(limits=fc.Limits(concurrency=5), timeouts=fc.Timeouts(total=30, queue=30))


async def main() -> None:
    async with fc.AsyncClient("openai:gpt-5-mini", policy=POLICY) as client:

        async def ask(number: int) -> None:
            try:
                await client.chat(f"What is the square of {number}?", max_tokens=32)
            except fc.FastClientError as error:
                print(number, type(error).__name__, error.timings)

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(ask, number)
        print(client.stats())


anyio.run(main)
