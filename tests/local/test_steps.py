"""What the engine does when native code refuses something: only the request that it refuses ends."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from fastclient.errors import LocalUnavailable, StreamCut
from fastclient.local.context import Context
from fastclient.local.handler import LocalHandler, handler_of
from fastclient.local.settings import Local
from tests.local.running import RANDOM, ask
from tests.local.tasks import FIXED


async def answers(handler: LocalHandler, words: list[str]) -> dict[str, str]:
    """What comes of requests made at the same time: a text, or the name of an error."""
    found: dict[str, str] = {}

    async def one(each: str) -> None:
        try:
            found[each] = (await ask(handler, each)).text
        except (LocalUnavailable, StreamCut) as error:
            found[each] = type(error).__name__

    async with anyio.create_task_group() as tasks:
        for each in words:
            tasks.start_soon(one, each)
    return found


def failing(monkeypatch: pytest.MonkeyPatch, when: Callable[[set[int]], bool]) -> None:
    """Have steps fail that are for these sequences."""
    run = Context.run

    def patched(self: Context) -> int:
        return 1 if when(set(self._sequence[: self.count].tolist())) else run(self)

    monkeypatch.setattr(Context, "run", patched)


async def test_a_step_that_fails_is_taken_one_by_one(shop: LocalHandler, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room for all at once, there is for each by itself."""
    failing(monkeypatch, lambda sequences: len(sequences) > 1)
    assert await answers(shop, [words for words, _ in FIXED]) == dict(FIXED)


async def test_only_what_fails_ends(shop: LocalHandler, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others at that step get their answers, and so does the next in its slot."""
    with monkeypatch.context() as patch:
        failing(patch, lambda sequences: 2 in sequences)
        found = await answers(shop, [words for words, _ in FIXED[:4]])
    assert list(found.values()).count("LocalUnavailable") == 1
    assert all(found[words] in (text, "LocalUnavailable") for words, text in FIXED[:4])
    assert await answers(shop, [words for words, _ in FIXED]) == dict(FIXED)


async def test_a_memory_that_cannot_be_cut(shop: LocalHandler, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some models cannot forget a part: then the prompt is read from its start, and the answers are the same."""
    cut = Context.cut
    monkeypatch.setattr(Context, "cut", lambda self, number, length: cut(self, number, 0) and length == 0)
    for _ in range(2):
        assert await answers(shop, [words for words, _ in FIXED]) == dict(FIXED)


async def test_why_a_model_does_not_load_is_logged(
    llama: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In llama.cpp's own words, by the logger that is ours."""
    path = tmp_path / "model.gguf"
    path.write_bytes(RANDOM.read_bytes().replace(b"blk.1.attn_q", b"blk.1.attn_x"))
    handler = handler_of(Local(path, threads=1))
    with caplog.at_level(logging.ERROR, "fastclient.local"), pytest.raises(LocalUnavailable, match="cannot load"):
        await ask(handler, "hi")
    assert "attn_q" in caplog.text
    handler.close()


async def test_a_grammar_is_not_logged(noise: LocalHandler, caplog: pytest.LogCaptureFixture) -> None:
    """Nor is anything else of a request, though the library would."""
    with caplog.at_level(logging.DEBUG, "fastclient.local"):
        await noise.warm()
        caplog.clear()
        with pytest.raises(Exception, match="grammar"):
            await ask(noise, "secret one", grammar='root ::= "secret two" (((')
        await ask(noise, "secret three", max_tokens=5)
    assert "secret" not in caplog.text
