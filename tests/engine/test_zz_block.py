import time, anyio, pytest
from fastclient.testing import *
from tests.engine.doors import door, world, ASYNC_WORLDS
@pytest.fixture
def anyio_backend(world): return "trio" if world.startswith("trio") else "asyncio"
@pytest.mark.parametrize("world", ASYNC_WORLDS)
@pytest.mark.parametrize("n", range(5))
async def test_blocked_loop(door, provider_server, world, n):
    client = door(provider_server(script=[faults.slow(0.03)], answer="word"*40), first_token=0.3, progress=0.2, liveness=0.2)
    async def hog():
        for _ in range(2):
            await anyio.sleep(0.1)
            time.sleep(0.4)
    async with anyio.create_task_group() as tg:
        tg.start_soon(hog)
        assert (await client.chat()).text == "word"*40
