"""A file that is no whole model is found out from its header, before native code sees it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastclient.local.gguf import BadModel, header

DATA = Path(__file__).parent.parent / "data"
WHOLE = (DATA / "tiny-random.gguf").read_bytes()


def written(folder: Path, content: bytes) -> Path:
    path = folder / "model.gguf"
    path.write_bytes(content)
    return path


def with_number(key: str, value: int) -> bytes:
    """The model with another number under a key."""
    at = WHOLE.index(key.encode()) + len(key) + 4
    return WHOLE[:at] + struct.pack("<I", value) + WHOLE[at + 4 :]


@pytest.mark.parametrize("name, layers", [("tiny-random.gguf", 3), ("tiny-shop.gguf", None)])
def test_a_model_describes_itself(name: str, layers: int | None) -> None:
    """Its architecture, its layers, its numbers."""
    found = header(DATA / name)
    assert found.architecture == "llama" and found.number("block_count") == found.layers
    assert layers is None or found.layers == layers


@pytest.mark.parametrize("share", [at / 20 for at in range(20)])
def test_a_file_that_is_cut_is_refused(tmp_path: Path, share: float) -> None:
    """Wherever it was cut, in its header or in its tensors."""
    with pytest.raises(BadModel):
        header(written(tmp_path, WHOLE[: int(len(WHOLE) * share)]))


def test_the_last_byte_matters(tmp_path: Path) -> None:
    """A download that lacks one byte is no model."""
    with pytest.raises(BadModel, match="1 bytes"):
        header(written(tmp_path, WHOLE[:-1]))


@pytest.mark.parametrize("content", [b"", b"GGUF", b"<!doctype html><html>" * 9, b"GGML" + bytes(100), b"\xff" * 4096])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    """Empty, a web page, an older format, noise."""
    with pytest.raises(BadModel):
        header(written(tmp_path, content))


@pytest.mark.parametrize(
    "key, value",
    [
        ("llama.block_count", 9999),
        ("llama.block_count", 0),
        ("llama.attention.head_count", 0),
        ("llama.embedding_length", 0),
        ("llama.embedding_length", 2**31),
        ("llama.context_length", 0),
    ],
)
def test_absurd_numbers_are_refused(tmp_path: Path, key: str, value: int) -> None:
    """Some of these end the process in native code."""
    with pytest.raises(BadModel):
        header(written(tmp_path, with_number(key, value)))


@pytest.mark.parametrize("at", [8, 16])
def test_absurd_counts_are_refused(tmp_path: Path, at: int) -> None:
    """More tensors or keys than any file has."""
    with pytest.raises(BadModel):
        header(written(tmp_path, WHOLE[:at] + struct.pack("<Q", 2**60) + WHOLE[at + 8 :]))


@given(st.binary(max_size=200), st.integers(0, 14000))
def test_noise_in_the_header_is_an_error_or_a_model(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int
) -> None:
    """Whatever stands there, the header is read to its end or refused; nothing else is raised."""
    path = written(tmp_path_factory.mktemp("noise"), WHOLE[:at] + noise + WHOLE[at + len(noise) :])
    try:
        header(path)
    except BadModel:
        pass


@pytest.mark.parametrize("path", ["missing.gguf", "."])
def test_a_path_without_a_file_is_refused(tmp_path: Path, path: str) -> None:
    """Missing, or a folder."""
    with pytest.raises(BadModel):
        header(tmp_path / path)
