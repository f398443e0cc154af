"""What is said of a local model is checked when it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastclient.errors import ConfigError
from fastclient.local.message import settings, settled
from fastclient.local.settings import Local


@pytest.mark.parametrize(
    "wrong",
    [
        {"gpu_layers": -2},
        {"gpu_layers": True},
        {"slots": 0},
        {"slots": 1000},
        {"max_queue": -1},
        {"context": 10},
        {"batch": 0},
        {"threads": "many"},
        {"embeddings": 1},
        {"engine": "onnx"},
        {"isolation": "container"},
        {"chat_template": ""},
        {"name": 3},
    ],
)
def test_a_wrong_value_is_named(wrong: dict[str, object]) -> None:
    """The error says which field it was."""
    with pytest.raises(ConfigError) as caught:
        Local("model.gguf", **wrong)  # type: ignore[arg-type]
    assert caught.value.field == f"local.{next(iter(wrong))}"


@pytest.mark.parametrize("path", ["", 3, None, "a\0b"])
def test_the_path_must_be_one(path: object) -> None:
    """A text or a path; nothing is opened yet."""
    with pytest.raises(ConfigError) as caught:
        Local(path)  # type: ignore[arg-type]
    assert caught.value.field == "local.path"


def test_equal_words_are_one_model() -> None:
    """A path is the same as its text, so clients that say the same share a model."""
    assert Local(Path("a/model.gguf")) == Local("a/model.gguf") and len({Local("a"), Local("a")}) == 1


def test_it_is_called_after_its_file() -> None:
    """Unless it is given a name."""
    assert (Local("a/tiny.gguf").model, Local("a/tiny.gguf", name="mine").model) == ("tiny", "mine")


def test_a_url_is_an_engine() -> None:
    """A server that runs already."""
    assert Local("m", engine="http://127.0.0.1:8080/v1").served and not Local("m").served


def test_settings_travel_to_another_process() -> None:
    """All of them; there it runs in a thread."""
    local = Local("m.gguf", slots=2, isolation="process", chat_template="{{ x }}", name="n")
    there = settled(settings(local))
    assert (there.path, there.slots, there.chat_template, there.name) == ("m.gguf", 2, "{{ x }}", "n")
    assert there.isolation == "thread"
