"""What a cached function keeps and what tells its calls apart: exactly what went in comes out, or it is refused."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

import fastclient as fc
from fastclient.decorators import stats_of
from fastclient.functions.codec import Refused, codec_for, returned
from tests.functions.kinds import Body, made

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | FLOATS | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=20,
)


class Answer(BaseModel):
    text: str
    score: float = 1.0


class Aliased(BaseModel):
    text: str = Field(alias="the text")


class Sub(Answer):
    more: int = 1


class Text(str):
    """A subclass: a hit would return a plain str."""


def same(first: object, second: object) -> bool:
    """Equal, also in every type."""
    if type(first) is not type(second):
        return False
    if isinstance(first, dict) and isinstance(second, dict):
        return list(first) == list(second) and all(same(first[name], second[name]) for name in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, float) and isinstance(second, float):
        return first == second and math.copysign(1, first) == math.copysign(1, second)
    return first == second


@given(JSON)
@example(-0.0)
def test_a_hit_returns_what_the_function_did(value: Any) -> None:
    """Whatever JSON says exactly comes back equal in every type and order, and is never the same object twice."""
    body = Body(lambda q: value)
    function = fc.cached(made("plain", body))
    first, second, third = function(), function(), function()
    assert same(first, second)
    assert same(second, third)
    assert body.runs == 1
    if isinstance(value, (list, dict)):
        assert second is not third


UNKEPT = [
    *((1, 2), {1}, b"", math.nan, math.inf, 2**64, -(2**63) - 1, Text("a"), OrderedDict(), {1: 2}, {Text("a"): 1}),
    *([(1, 2)], {"a": {"b": {1}}}, "\ud800", {"\ud800": 1}, object(), Answer(text="a"), 1j, Ellipsis),
]


@pytest.mark.parametrize("value", UNKEPT, ids=lambda value: type(value).__name__)
def test_what_would_come_back_as_something_else_is_refused(value: object) -> None:
    """The error names the function and the way out, and does not show the value."""
    with pytest.raises(fc.ConfigError, match=r"made\.<locals>\.plain returned .*codec=") as caught:
        fc.cached(made("plain", Body(lambda q: value)))()
    assert caught.value.field == "codec"


@pytest.mark.parametrize("value", [value for value in UNKEPT if value is not math.nan], ids=lambda v: type(v).__name__)
def test_an_argument_that_json_cannot_say_is_refused(value: object) -> None:
    """The error names the function, the argument and the way out; nothing has run."""
    body = Body()
    for decorate in (fc.cached, fc.shared, fc.accelerate):
        with pytest.raises(fc.ConfigError, match=r"argument 'q' of .*plain .*say key=") as caught:
            decorate(made("plain", body))(value)
        assert caught.value.field == "key"
    assert body.runs == 0


@given(JSON, JSON)
@example(1, 1.0)
@example(1, True)
@example(0.0, -0.0)
@example({"a": 1, "b": 2}, {"b": 2, "a": 1})
def test_arguments_are_the_same_exactly_if_their_json_is(first: Any, second: Any) -> None:
    """1, 1.0 and True are three arguments; the order of a dict's entries is none."""
    body = Body()
    function = fc.cached(made("plain", Body(lambda q: body.begin())))
    apart = function(first) != function(second)
    assert apart == (first != second or not same(sort(first), sort(second)))


def sort(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: sort(value[name]) for name in sorted(value)}
    return [sort(item) for item in value] if isinstance(value, list) else value


def test_defaults_names_and_rests_make_the_same_key() -> None:
    """However a call is written, it is the same call."""
    runs: list[int] = []

    @fc.cached
    def function(a: int, b: int = 2, *rest: int, c: int = 3, **others: int) -> int:
        runs.append(1)
        return a

    for _ in (function(1), function(a=1), function(1, 2), function(b=2, a=1, c=3)):
        assert len(runs) == 1
    function(1, 2, 3)
    function(1, d=4)
    assert len(runs) == 3


def test_a_key_of_ones_own_gets_the_arguments() -> None:
    """`key=` says what tells calls apart: for methods, for objects, for what does not matter."""

    class Shop:
        def __init__(self, name: str) -> None:
            self.name, self.runs = name, 0

        @fc.cached(key=lambda self, question, **_: [self.name, question.strip()])
        def ask(self, question: str, *, trace: object = None) -> str:
            self.runs += 1
            return f"{self.name}: {question.strip()}"

    one, two = Shop("one"), Shop("two")
    assert one.ask("a") == one.ask(" a ", trace=object()) == "one: a"
    assert two.ask("a") == "two: a"
    assert (one.runs, two.runs) == (1, 1)
    with pytest.raises(fc.ConfigError, match="result of key="):
        fc.cached(key=lambda q: object())(lambda q: q)(1)


def test_methods_of_every_kind_can_be_decorated() -> None:
    """Below classmethod and staticmethod; above, it is said."""

    class Thing:
        @fc.retried
        def method(self) -> object:
            return self

        @classmethod
        @fc.timed
        def of_class(cls) -> object:
            return cls

        @staticmethod
        @fc.cached
        def static(value: int) -> int:
            return value

    thing = Thing()
    assert (thing.method(), Thing.of_class(), thing.static(3)) == (thing, Thing, 3)
    assert stats_of(thing.method).calls == stats_of(Thing.of_class).calls == 1
    with pytest.raises(fc.ConfigError, match="classmethod"):
        fc.timed(classmethod(lambda cls: cls))


@pytest.mark.parametrize("explicit", [True, False])
def test_models_come_back_as_models(explicit: bool) -> None:
    """By `codec=` or by the annotation; each hit is a model of its own, and a subclass is not taken for it."""

    def ask(text: str) -> Answer:
        return Sub(text=text) if text == "sub" else Answer(text=text, score=0.1)

    def any_(text: str) -> Any:
        return ask(text)

    function: Any = fc.cached(codec=Answer)(any_) if explicit else fc.cached(ask)
    function("a")
    hit, again = function("a"), function("a")
    assert hit == again == Answer(text="a", score=0.1)
    assert hit is not again
    with pytest.raises(fc.ConfigError, match="codec="):
        function("sub")


FORMS: list[tuple[Any, object]] = [
    (list[Answer], [Answer(text="a"), Answer(text="b")]),
    (Answer | None, None),
    (Answer | None, Answer(text="a")),
    (list[Answer] | None, [Answer(text="\u00e9")]),
    (Aliased, Aliased(**{"the text": "a"})),
]


@pytest.mark.parametrize("form, value", FORMS)
def test_forms_of_models_come_back(form: Any, value: object) -> None:
    """Lists of models, and models that may be None."""
    codec = codec_for(form)
    assert codec.decode(codec.encode(value)) == value


def test_a_model_that_does_not_come_back_is_refused() -> None:
    """NaN is not equal to what would be read, so it is not kept."""
    with pytest.raises(Refused):
        codec_for(Answer).encode(Answer(text="a", score=math.nan))


def test_generators_keep_items_by_their_annotation() -> None:
    """What counts is the type of the items."""

    def answers() -> Iterator[Answer]:
        yield Answer(text="a")

    async def later() -> AsyncIterator[Answer | None]:
        yield None

    assert returned(answers, items=True).decode(b'{"text":"a"}') == Answer(text="a")
    assert returned(later, items=True).decode(b"null") is None
    function = fc.cached(answers)
    assert list(function()) == list(function()) == [Answer(text="a")]


def test_a_codec_of_ones_own() -> None:
    """Any object with encode and decode; it must write bytes."""

    class Raw:
        def encode(self, value: Any) -> bytes:
            return value  # type: ignore[no-any-return]

        def decode(self, data: bytes) -> bytes:
            return data

    body = Body(lambda q: b"" if q == "q" else q)
    function = fc.cached(codec=Raw())(made("plain", body))
    assert (function(), function()) == (b"", b"")
    assert body.runs == 1
    with pytest.raises(fc.ConfigError, match="must return bytes"):
        function("a text")
    with pytest.raises(fc.ConfigError, match="codec"):
        fc.cached(codec=5)(lambda: None)


def test_what_another_version_wrote_is_asked_again(tmp_path: Path) -> None:
    """A kept value that cannot be read any more costs a run, not an error."""

    class Old:
        def encode(self, value: object) -> bytes:
            return b"old"

        def decode(self, data: bytes) -> object:
            raise ValueError("not mine") if data == b"old" else ValueError("never")

    body = Body(lambda q: 5)
    with_old = fc.cached(codec=Old(), store=fc.DiskStore(tmp_path))(made("plain", body))
    assert (with_old(), with_old()) == (5, 5)
    assert body.runs == 2
    items = fc.cached(codec=Old())(made("generator", body))
    assert (list(items()), list(items())) == ([5, "more"], [5, "more"])


def test_a_disk_serves_the_next_process(tmp_path: Path) -> None:
    """Values outlive the function that made them; another namespace does not see them."""
    first, second, other = Body(lambda q: {"asked": q}), Body(), Body(lambda q: "other")
    store = fc.DiskStore(tmp_path)
    fc.cached(store=store)(made("plain", first))("a")
    store.close()
    store = fc.DiskStore(tmp_path)
    assert fc.cached(store=store)(made("plain", second))("a") == {"asked": "a"}
    assert fc.cached(store=store, namespace="b")(made("plain", other))("a") == "other"
    store.close()
    assert second.runs == 0


def test_what_was_kept_otherwise_is_another_key() -> None:
    """A function that becomes a generator, or gets another codec, does not read what it wrote before."""
    store = fc.MemoryStore()

    class Shout:
        def encode(self, value: object) -> bytes:
            return str(value).encode()

        def decode(self, data: bytes) -> str:
            return data.decode().upper()

    def versions() -> Iterator[Any]:
        def version() -> Any:
            return 12

        yield fc.cached(store=store)(version)
        yield fc.cached(store=store, codec=Shout())(version)

        def version() -> Any:  # type: ignore[no-redef]  # the next version of the program
            yield 1
            yield 2

        yield fc.cached(store=store)(version)

    plain, shouting, items = versions()
    assert (plain(), plain()) == (12, 12)
    assert (shouting(), shouting()) == (12, "12")
    assert (list(items()), list(items())) == ([1, 2], [1, 2])


def test_callers_who_share_a_cached_run_get_values_of_their_own() -> None:
    """What one of them changes, the others do not see."""
    from concurrent.futures import ThreadPoolExecutor

    body = Body(lambda q: [q])
    function = fc.cached(made("plain", body))
    body.until = lambda run: stats_of(function).in_flight == 5
    with ThreadPoolExecutor(5) as pool:
        values = list(pool.map(function, ["a"] * 5))
    assert len({id(value) for value in values}) == 5
    assert values == [["a"]] * 5


def test_several_samples_take_turns() -> None:
    """`samples=2` keeps two values, which come one after the other."""
    body = Body(lambda q: body.runs)
    function = fc.cached(samples=2)(made("plain", body))
    assert [function() for _ in range(5)] == [1, 2, 1, 2, 1]


def test_nothing_of_a_value_is_in_a_repr() -> None:
    """Requests, chunks and targets are shown in logs: the user's values are not."""
    from fastclient.functions.parcel import Parcel
    from fastclient.types import Request

    assert "secret" not in repr(Parcel.of("secret", b"secret"))
    assert "secret" not in repr(Request(messages=(), work="secret"))
    parcel = Parcel.of(value := object())
    assert parcel._replace(restarted=True).value is value  # type: ignore[attr-defined]
