"""The key of a request: what it depends on, and what it does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastclient import Target
from fastclient.cache.key import Keys, tag_of
from fastclient.request import checked

texts = st.text(st.characters(codec="utf-8"), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
requests = st.fixed_dictionaries(
    {
        "messages": st.lists(texts.filter(bool), min_size=1, max_size=3),
        "params": st.dictionaries(texts, values, max_size=5),
    }
)


def target(**changes: Any) -> Target:
    fields: dict[str, Any] = {
        "name": "openai:m",
        "base_url": "https://a.example/v1",
        "api_key": "sk-one",
        "headers": {},
    }
    fields |= changes
    return Target(fields.pop("name"), **fields)


def key(request: dict[str, Any], namespace: str = "default", sample: int = 0, **changes: Any) -> bytes | None:
    asked = checked(
        [{"role": "user", "content": text} for text in request["messages"]], {"extra_body": request["params"]}
    )
    return Keys(target(**changes), namespace).key(asked, sample)


def usable(request: dict[str, Any]) -> bool:
    return not {"messages", "model", "stream", "n"} & request["params"].keys()


def turned(value: Any) -> Any:
    """The same value with every dict's entries in the opposite order."""
    if isinstance(value, dict):
        return {name: turned(value[name]) for name in reversed(value)}
    return [turned(each) for each in value] if isinstance(value, list) else value


@given(requests.filter(usable))
def test_order_does_not_matter(request: dict[str, Any]) -> None:
    """Dicts that are equal make the same key, in whatever order they were written, at every depth."""
    assert key(request) == key({"messages": request["messages"], "params": turned(request["params"])})
    assert len(key(request) or b"") == 32


@given(requests.filter(usable), requests.filter(usable))
def test_different_requests_have_different_keys(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Whatever JSON tells apart, the key tells apart."""
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (key(one) == key(other)) == same


@given(
    requests.filter(usable),
    st.dictionaries(
        st.sampled_from(["namespace", "name", "base_url", "api_key", "headers", "sample"]),
        st.integers(0, 3),
        min_size=1,
    ),
    st.dictionaries(
        st.sampled_from(["namespace", "name", "base_url", "api_key", "headers", "sample"]),
        st.integers(0, 3),
        min_size=1,
    ),
)
def test_nothing_is_shared_across(request: dict[str, Any], one: dict[str, int], other: dict[str, int]) -> None:
    """Another namespace, target, server, credential, header or sample never has the same key."""

    def said(numbers: dict[str, int]) -> dict[str, Any]:
        number = {
            name: numbers.get(name, 0) for name in ("namespace", "name", "base_url", "api_key", "headers", "sample")
        }
        return {
            "namespace": f"tenant-{number['namespace']}",
            "name": ("openai:m", "openai:n", "anthropic:m", "openai:m:n")[number["name"]],
            "base_url": f"https://{'abcd'[number['base_url']]}.example/v1",
            "api_key": f"sk-{number['api_key']}",
            "headers": {"x-org": str(number["headers"])},
            "sample": number["sample"],
        }

    assert (key(request, **said(one)) == key(request, **said(other))) == (said(one) == said(other))


def test_a_namespace_cannot_be_spelled_by_messages() -> None:
    """Namespaces that look like the beginning of something else stay apart."""
    names = ["a", "a,0", '","', "a\x00", "default", "DEFAULT", "", "[]", "ä", "a\u0308"]
    keys = {key({"messages": ["x"], "params": {}}, name) for name in names}
    assert len(keys) == len(names)
    assert len({tag_of(name) for name in names}) == len(names)


def test_a_call_may_name_its_namespace() -> None:
    """The call's own namespace is the same as the policy's of that name."""
    plain = checked("x", {})
    named = checked("x", {"namespace": "b"})
    assert Keys(target(), "b").key(plain) == Keys(target(), "a").key(named) != Keys(target(), "a").key(plain)


@pytest.mark.parametrize("value", [object(), {1: 2}, b"bytes", {"a": {1, 2}}, 2**70, "\ud800"])
def test_what_json_cannot_say_has_no_key(value: Any) -> None:
    """Such a request is not cached; the layers below say what is wrong with it."""
    assert key({"messages": ["x"], "params": {"p": value}}) is None


def test_streaming_is_no_part_of_it() -> None:
    """Steering does not change the answer, so it does not change the key."""
    steered = {"priority": "interactive", "timeout": 3, "hedge": False, "metadata": {"a": 1}, "cache": "refresh"}
    assert Keys(target(), "d").key(checked("x", steered)) == Keys(target(), "d").key(checked("x", {}))


def test_a_key_tells_nothing() -> None:
    """Neither prompts nor credentials stand in it, nor in what it is made of."""
    keys = Keys(target(api_key="sk-very-secret", headers={"x-org": "hidden-org"}), "d")
    made = keys._target + (keys.key(checked("a private question", {})) or b"")
    for secret in (b"sk-very-secret", b"hidden-org", b"private"):
        assert secret not in made
