"""From a JSON schema or a list of choices to llama.cpp's grammar notation (GBNF). Pure.

What the notation cannot express is refused with its place, and never silently ignored: an answer that fits the grammar
fits the schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["ANY_JSON", "Inexpressible", "of_choices", "of_schema"]

_SPACE = 'ws ::= | " " | "\\n" [ \\t]{0,20}'
_RULES = {
    "ws": _SPACE,
    "boolean": 'boolean ::= "true" | "false"',
    "null": 'null ::= "null"',
    "integer": 'integer ::= "-"? ("0" | [1-9] [0-9]{0,15})',
    "number": 'number ::= "-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,3})?',
    "char": 'char ::= [^"\\\\\\x7F\\x00-\\x1F] | "\\\\" (["\\\\/bfnrt] | "u" [0-9a-fA-F]{4})',
    "string": 'string ::= "\\"" char* "\\""',
    "array": 'array ::= "[" ws (value ws ("," ws value ws)*)? "]"',
    "object": 'object ::= "{" ws (string ws ":" ws value ws ("," ws string ws ":" ws value ws)*)? "}"',
    "value": "value ::= object | array | string | number | boolean | null",
}
_NEEDS = {
    "string": ("char",),
    "array": ("ws", "value"),
    "object": ("ws", "value", "string"),
    "value": ("object", "array", "string", "number", "boolean", "null"),
}
_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
# What says nothing about which values fit, or is read where it belongs.
_WORDS = {
    *("title", "description", "default", "examples", "$schema", "$id", "$defs", "definitions", "$comment"),
    *("deprecated", "readOnly", "writeOnly", "strict", "name"),
}
_DEEPEST = 64
_MOST = 2000  # rules: a schema may describe more values than anybody will ever want


class Inexpressible(ValueError):
    """The schema asks for what a grammar cannot say; the message names the place, and nothing of its contents."""


def of_choices(choices: Sequence[str]) -> str:
    """The grammar of an answer that is one of these texts."""
    if not choices or not all(isinstance(choice, str) and choice for choice in choices):
        raise Inexpressible("choices: must be texts that are not empty")
    return "root ::= " + " | ".join(map(_literal, choices))


def of_schema(schema: object) -> str:
    """The grammar of the JSON documents that fit a schema."""
    return _Schema(schema).grammar()


def _literal(text: str) -> str:
    """A text, quoted as the notation wants it."""
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character == "\n":
        return "\\n"
    code = ord(character)
    return character if character.isprintable() else f"\\U{code:08X}" if code > 0xFFFF else f"\\u{code:04X}"


def _written(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class _Schema:
    """One schema under translation."""

    def __init__(self, schema: object) -> None:
        self._whole = schema
        self._rules: dict[str, str] = {}
        self._known: dict[str, str] = {}  # a reference, and its rule
        self._count = 0

    def grammar(self) -> str:
        root = self._term(self._whole, "schema", 0)
        self._use("ws")
        return "\n".join([f"root ::= {root}", *self._rules.values()])

    def _use(self, name: str) -> str:
        """A rule that every grammar may have."""
        if name not in self._rules:
            self._rules[name] = _RULES[name]
            for other in _NEEDS.get(name, ()):
                self._use(other)
        return name

    def _rule(self, body: str, name: str = "") -> str:
        if not name:
            self._count += 1
            if self._count > _MOST:
                raise Inexpressible("schema: is too large")
            name = f"r{self._count}"
        self._rules[name] = f"{name} ::= {body}"
        return name

    def _term(self, schema: object, place: str, depth: int) -> str:
        """What matches one value, as a term that can stand in a sequence."""
        if depth > _DEEPEST:
            raise Inexpressible(f"{place[:80]}: is nested too deeply")
        if schema is True or schema == {}:
            return self._use("value")
        if not isinstance(schema, Mapping):
            raise Inexpressible(f"{place}: must be an object")
        if "$ref" in schema:
            return self._reference(schema, place, depth)
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return self._either(schema, word, place, depth)
        if "allOf" in schema:
            parts = _only(schema, {"allOf"}, place)["allOf"]
            if not isinstance(parts, Sequence) or len(parts) != 1:
                raise Inexpressible(f"{place}.allOf: more than one part cannot be expressed")
            return self._term(parts[0], f"{place}.allOf[0]", depth + 1)
        if "const" in schema:
            return _literal(_written(_only(schema, {"const", "type"}, place)["const"]))
        if "enum" in schema:
            return self._enum(schema, place)
        return self._typed(schema, place, depth)

    def _enum(self, schema: Mapping[str, Any], place: str) -> str:
        values = _only(schema, {"enum", "type"}, place)["enum"]
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise Inexpressible(f"{place}.enum: must be a list that is not empty")
        return self._rule(" | ".join(_literal(_written(value)) for value in values))

    def _either(self, schema: Mapping[str, Any], word: str, place: str, depth: int) -> str:
        parts = _only(schema, {word}, place)[word]
        if not isinstance(parts, Sequence) or not parts:
            raise Inexpressible(f"{place}.{word}: must be a list that is not empty")
        terms = [self._term(part, f"{place}.{word}[{at}]", depth + 1) for at, part in enumerate(parts)]
        return self._rule(" | ".join(terms))

    def _reference(self, schema: Mapping[str, Any], place: str, depth: int) -> str:
        target = _only(schema, {"$ref"}, place)["$ref"]
        if not isinstance(target, str) or not (target == "#" or target.startswith("#/")):
            raise Inexpressible(f"{place}.$ref: only references within the schema can be followed")
        if target not in self._known:
            found = self._whole
            for part in target.split("/")[1:]:
                part = part.replace("~1", "/").replace("~0", "~")
                if not isinstance(found, Mapping) or part not in found:
                    raise Inexpressible(f"{place}.$ref: leads nowhere")
                found = found[part]
            self._count += 1
            name = self._known[target] = f"ref{self._count}"  # before what is inside: it may contain itself
            self._rule(self._term(found, place, depth + 1), name)
        return self._known[target]

    def _typed(self, schema: Mapping[str, Any], place: str, depth: int) -> str:
        kind = schema.get("type")
        if isinstance(kind, list):
            plain = {name: value for name, value in schema.items() if name != "type"}
            terms = [self._term({"type": each, **({} if each == "null" else plain)}, place, depth + 1) for each in kind]
            return self._rule(" | ".join(terms))
        if kind is None:
            kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
            if kind == "string" and not {"minLength", "maxLength", "pattern", "format"} & set(schema):
                _only(schema, set(), place)
                return self._use("value")
        if kind not in _TYPES:
            raise Inexpressible(f"{place}.type: is not known")
        if kind == "object":
            return self._object(schema, place, depth)
        if kind == "array":
            return self._array(schema, place, depth)
        if kind == "string":
            return self._string(schema, place)
        _only(schema, {"type"}, place)
        return self._use(kind)

    def _object(self, schema: Mapping[str, Any], place: str, depth: int) -> str:
        _only(schema, {"type", "properties", "required", "additionalProperties"}, place)
        properties = schema.get("properties", {})
        required, more = schema.get("required", []), schema.get("additionalProperties")
        if not isinstance(properties, Mapping) or not isinstance(required, Sequence) or set(required) - set(properties):
            raise Inexpressible(f"{place}: properties or required cannot be expressed")
        self._use("ws")
        if not properties:
            if more is None or more is True:
                return self._use("object")
            if more is False:
                return self._rule('"{" ws "}"')
            pair = self._rule(f'{self._use("string")} ws ":" ws {self._term(more, f"{place}.*", depth + 1)} ws')
            return self._rule(f'"{{" ws ({pair} ("," ws {pair})*)? "}}"')
        if isinstance(more, Mapping):
            raise Inexpressible(f"{place}.additionalProperties: cannot be expressed beside properties")
        pairs: list[tuple[str, bool]] = []
        for name, inner in properties.items():
            term = self._term(inner, f"{place}.{name}", depth + 1)
            pairs.append((self._rule(f'{_literal(_written(name))} ws ":" ws {term} ws'), name in required))
        return self._rule(f'"{{" ws {self._pairs(pairs)} "}}"')

    def _pairs(self, pairs: Sequence[tuple[str, bool]]) -> str:
        """The properties in their order, each optional one there or not, and commas just between them.

        From the last to the first: what may follow once a property has been written, and what if none has.
        """
        after, first = "", ""
        for pair, needed in reversed(pairs):
            rest = f"{pair} {after}" if after else pair
            if needed:
                after, first = self._rule(f'"," ws {rest}'), rest
            else:
                first = self._rule(f"{rest} | {first}" if first else f"({rest})?")
                after = self._rule(f'"," ws {rest} | {after}' if after else f'("," ws {rest})?')
        return first

    def _array(self, schema: Mapping[str, Any], place: str, depth: int) -> str:
        _only(schema, {"type", "items", "minItems", "maxItems"}, place)
        least, most = _bounds(schema, "minItems", "maxItems", place)
        self._use("ws")
        if "items" not in schema and least == 0 and most is None:
            return self._use("array")
        item = f"{self._term(schema.get('items', {}), f'{place}.items', depth + 1)} ws"
        if most == 0:
            return self._rule('"[" ws "]"')
        more = f'("," ws {item})' + _times(max(0, least - 1), None if most is None else most - 1)
        inside = f"{item} {more}"
        return self._rule(f'"[" ws ({inside}){"" if least else "?"} "]"')

    def _string(self, schema: Mapping[str, Any], place: str) -> str:
        if "pattern" in schema or "format" in schema:
            raise Inexpressible(f"{place}: pattern and format cannot be expressed")
        _only(schema, {"type", "minLength", "maxLength"}, place)
        least, most = _bounds(schema, "minLength", "maxLength", place)
        if least == 0 and most is None:
            return self._use("string")
        return self._rule(f'"\\"" {self._use("char")}{_times(least, most)} "\\""')


def _only(schema: Mapping[str, Any], known: set[str], place: str) -> Mapping[str, Any]:
    """The schema, if it says nothing but what is known here."""
    unknown = sorted(set(schema) - known - _WORDS)
    if unknown:
        raise Inexpressible(f"{place}.{unknown[0][:40]}: cannot be expressed")
    return schema


def _bounds(schema: Mapping[str, Any], least: str, most: str, place: str) -> tuple[int, int | None]:
    low, high = schema.get(least, 0), schema.get(most)
    for value in (low, 0 if high is None else high):
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST:
            raise Inexpressible(f"{place}: {least} and {most} must be whole numbers up to {_MOST}")
    if high is not None and high < low:
        raise Inexpressible(f"{place}: {most} is below {least}")
    return low, high


def _times(least: int, most: int | None) -> str:
    if most is None:
        return "*" if least == 0 else f"{{{least},}}"
    return f"{{{least},{most}}}"


ANY_JSON = of_schema({"type": "object"})
"""The grammar of any JSON object."""
