"""A schema becomes a grammar that lets exactly the documents through that fit it, or is refused with its place."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastclient.local.grammar import ANY_JSON, Inexpressible, of_choices, of_schema

_TERM = re.compile(r'("(?:[^"\\]|\\.)*")|(\[(?:[^\]\\]|\\.)*\])|([a-z][a-z0-9]*)|(\s+)|(.)', re.DOTALL)
_CODE = re.compile(r"\\U([0-9A-F]{8})|\\u([0-9A-F]{4})|\\(.)")


def text_of(literal: str) -> str:
    """What a quoted text of the notation stands for."""
    return _CODE.sub(
        lambda m: chr(int(m[1] or m[2], 16)) if m[1] or m[2] else {"n": "\n"}.get(m[3], m[3]), literal[1:-1]
    )


def expression(grammar: str) -> re.Pattern[str]:
    """A grammar without rules that contain themselves, as a regular expression."""
    rules = dict(line.split(" ::= ", 1) for line in grammar.splitlines())

    def of(name: str) -> str:
        def one(match: re.Match[str]) -> str:
            literal, characters, rule, space, other = match.groups()
            if literal:
                return "(?:" + re.escape(text_of(literal)) + ")"
            return characters or ("" if space else of(rule) if rule else other)

        return "(?:" + _TERM.sub(one, rules[name]) + ")"

    return re.compile(of("root"))


def fits(schema: object, document: object, **how: object) -> bool:
    return expression(of_schema(schema)).fullmatch(json.dumps(document, ensure_ascii=False, **how)) is not None  # type: ignore[arg-type]


PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "pets": {"type": "array", "items": {"enum": ["cat", "dog"]}},
    },
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    "document",
    [
        {"name": "Ann"},
        {"name": 'A "q" \\ \n 🙂', "age": -3},
        {"name": "", "pets": []},
        {"name": "x", "age": 0, "pets": ["cat", "dog"]},
    ],
)
def test_what_fits_is_let_through(document: object) -> None:
    """Optional properties may be absent; with or without spaces."""
    assert fits(PERSON, document) and fits(PERSON, document, separators=(",", ":"))


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"age": 3},
        {"name": 3},
        {"name": "x", "age": 1.5},
        {"name": "x", "pets": ["cow"]},
        {"name": "x", "more": 1},
        [],
        "x",
    ],
)
def test_what_does_not_fit_is_not(document: object) -> None:
    """A required property, a type, a value that is not listed, a property that is not known."""
    assert not fits(PERSON, document)


_scalars = st.sampled_from(
    [
        ({"type": "boolean"}, st.booleans()),
        ({"type": "null"}, st.none()),
        ({"type": "integer"}, st.integers(-(10**12), 10**12)),
        ({"type": "string"}, st.text(max_size=8)),
        ({"enum": [1, "a", None]}, st.sampled_from([1, "a", None])),
        ({"const": "ü\n"}, st.just("ü\n")),
        ({"type": "string", "minLength": 1, "maxLength": 3}, st.text("abc", min_size=1, max_size=3)),
    ]
)


@given(st.dictionaries(st.text(min_size=1, max_size=5), _scalars, max_size=4), st.data())
def test_every_document_of_a_schema_is_let_through(
    parts: dict[str, tuple[dict[str, object], st.SearchStrategy[object]]], data: st.DataObject
) -> None:
    """Whichever properties are required or there, in the schema's order."""
    required = [name for name in parts if data.draw(st.booleans())]
    schema = {
        "type": "object",
        "properties": {name: each[0] for name, each in parts.items()},
        "required": required,
        "additionalProperties": False,
    }
    document = {
        name: data.draw(each[1]) for name, each in parts.items() if name in required or data.draw(st.booleans())
    }
    assert fits(schema, document)
    if required:
        del document[required[0]]
        assert not fits(schema, document)


@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 7))
def test_arrays_have_as_many_items_as_asked(least: int, more: int, size: int) -> None:
    """Between minItems and maxItems."""
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": least, "maxItems": least + more}
    assert fits(schema, list(range(size))) == (least <= size <= least + more)


def test_alternatives_and_types_in_a_list() -> None:
    """anyOf, oneOf and a list of types let each of them through."""
    schema = {"anyOf": [{"type": "integer"}, {"type": ["string", "null"]}]}
    assert [fits(schema, each) for each in (1, "a", None, True)] == [True, True, True, False]


def test_references_are_followed() -> None:
    """Also where a schema contains itself: there the rule names itself."""
    shared = {"$defs": {"n": {"type": "integer"}}, "type": "array", "items": {"$ref": "#/$defs/n"}}
    assert fits(shared, [1, 2]) and not fits(shared, ["a"])
    tree = of_schema({"type": "object", "properties": {"next": {"$ref": "#"}}})
    assert re.search(r"^ref\d+ ::= .*", tree, re.MULTILINE)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5), st.text())
def test_choices_are_the_only_answers(choices: list[str], other: str) -> None:
    """Each one, letter by letter, and nothing else."""
    found = expression(of_choices(choices))
    assert all(found.fullmatch(choice) for choice in choices)
    assert bool(found.fullmatch(other)) == (other in choices)


@pytest.mark.parametrize(
    "schema, place",
    [
        ({"type": "string", "pattern": "^a$"}, "schema"),
        ({"type": "integer", "minimum": 3}, "schema.minimum"),
        ({"type": "object", "properties": {"a": {"type": "date"}}}, "schema.a.type"),
        ({"$ref": "https://example.com/schema"}, "schema.$ref"),
        ({"$ref": "#/nowhere"}, "schema.$ref"),
        ({"allOf": [{}, {}]}, "schema.allOf"),
        ({"type": "array", "items": 3}, "schema.items"),
        ({"anyOf": []}, "schema.anyOf"),
        ("text", "schema"),
    ],
)
def test_what_cannot_be_said_is_refused_with_its_place(schema: object, place: str) -> None:
    """Never ignored: an answer that came through fits the schema."""
    with pytest.raises(Inexpressible) as caught:
        of_schema(schema)
    assert str(caught.value).startswith(place)


def test_a_schema_without_end_is_refused() -> None:
    """One that is nested beyond measure ends in an error, not in a crash."""
    deep: dict[str, object] = {"type": "integer"}
    for _ in range(500):
        deep = {"type": "array", "items": deep, "minItems": 1}
    with pytest.raises(Inexpressible):
        of_schema(deep)


def test_any_object_is_ten_rules() -> None:
    """`json_object` needs no schema."""
    assert ANY_JSON.startswith("root ::= object\n") and "value ::=" in ANY_JSON
