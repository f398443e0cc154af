"""llama.cpp's own server in this process, from a prebuilt wheel: a target like any other server."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

import fastclient as fc
from fastclient.errors import LocalUnavailable
from fastclient.local.settings import Local
from fastclient.local.wheels import stop, target_of
from tests.local.running import SHOP
from tests.local.tasks import FIXED


@pytest.fixture(scope="module")
def local() -> Iterator[Local]:
    pytest.importorskip("xllamacpp")
    local = Local(SHOP, engine="xllamacpp", threads=1, slots=2, context=2048)
    yield local
    stop(local)


def test_its_answers_are_right(local: Local) -> None:
    """Through the ordinary client."""
    with fc.Client(target_of(local)) as client:
        assert [client.chat(words, temperature=0).text for words, _ in FIXED[:6]] == [text for _, text in FIXED[:6]]


def test_one_server_for_all_who_say_the_same(local: Local) -> None:
    """It is started once, on a port of this machine."""
    target = target_of(local)
    assert target == target_of(local) and (target.base_url or "").startswith("http://127.0.0.1:")
    assert target.name == "openai:tiny-shop"


def test_a_server_that_runs_is_a_target() -> None:
    """Nothing is started for it."""
    target = target_of(Local("qwen", engine="http://127.0.0.1:8080/v1"))
    assert (target.name, target.base_url) == ("openai:qwen", "http://127.0.0.1:8080/v1")


def test_a_bad_file_is_found_out_first() -> None:
    """The server would end the process."""
    with pytest.raises(LocalUnavailable, match="no such file"):
        target_of(Local("missing.gguf", engine="xllamacpp"))


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Word for word."""
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(LocalUnavailable, match=r'pip install "fastclient\[local-wheels\]"'):
        target_of(Local(SHOP, engine="xllamacpp", slots=3))
