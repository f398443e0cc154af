"""An answer of a real model that breaks off in the middle, and goes on."""

from __future__ import annotations

from typing import Any

import pytest

import fastclient as fc
from fastclient.wire.family import FamilyWire

COUNT = "Count to 12"
ANSWER = "1 2 3 4 5 6 7 8 9 10 11 12"


class Cutting:
    """A wire whose first answer loses its connection after some reads."""

    def __init__(self, reads: int) -> None:
        self.inner = FamilyWire("httpx2")
        self.reads = reads

    async def send(self, request: Any, timeouts: Any, marks: Any) -> Any:
        response = await self.inner.send(request, timeouts, marks)
        if self.reads:
            left, read = self.reads, response.read
            self.reads = 0

            async def cut(until: float) -> bytes:
                nonlocal left
                left -= 1
                if left < 0:
                    raise fc.StreamCut("the connection broke")
                return await read(until)

            response.read = cut
        return response

    async def aclose(self) -> None:
        await self.inner.aclose()


@pytest.mark.parametrize("recover", ["resume", "restart"])
@pytest.mark.parametrize("reads", [3, 6])
def test_a_broken_answer_goes_on(llama_url: str, recover: Any, reads: int) -> None:
    """Read piece by piece, the answer is the whole one and nothing comes twice; the reply says that it went on."""
    policy = fc.Policy(route=fc.Route(recover=recover))
    client = fc.Client("openai:tiny", base_url=llama_url, wire=Cutting(reads), policy=policy)
    with client, client.stream(COUNT, temperature=0, max_tokens=90) as stream:
        text = "".join(stream.text)
        reply = stream.reply()
    assert text == reply.text == ANSWER
    assert reply.recovered == recover
    assert [attempt.role for attempt in reply.attempts] == ["primary", "retry"]


def test_without_being_asked_it_is_an_error(llama_url: str) -> None:
    """By default a cut is a cut, with the partial text."""
    with fc.Client("openai:tiny", base_url=llama_url, wire=Cutting(6)) as client, pytest.raises(fc.StreamCut) as caught:
        client.chat(COUNT, temperature=0, max_tokens=90)
    assert ANSWER.startswith(caught.value.partial_text.strip()) and caught.value.partial_text
