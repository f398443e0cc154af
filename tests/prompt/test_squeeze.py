"""The lossless squeeze: what is left says exactly what was there, and what may be code keeps every byte."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from fastclient.prompt.squeeze import squeeze, squeezed

STRING = re.compile(r'"(?:[^"\\]|\\.)*"')

spaces = st.text(" \t\n\r", max_size=2)
numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,5})?([eE][+-]?[0-9]{1,2})?", fullmatch=True)
characters = st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters='"\\')
escapes = st.sampled_from(
    [
        *(r"\n", r"\"", r"\\", r"\/", r"\t", r"\u0041", r"\u003C", r"\u00e9", r"\u4E2d", r"\ud83d\ude00"),
        *(r"\u0000", r"\u007f", r"\u2028", r"\u200d", r"\u202e", r"\u0022", r"\u005c"),  # these stay escaped
    ]
)
strings = st.lists(characters | escapes, max_size=6).map(lambda pieces: f'"{"".join(pieces)}"')
scalars = numbers | strings | st.sampled_from(["true", "false", "null"])


def array(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(st.tuples(spaces, items, spaces).map("".join), max_size=4).map(lambda each: f"[{','.join(each)}]")


def mapping(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    member = st.tuples(spaces, strings, spaces, st.just(":"), spaces, items, spaces).map("".join)
    return st.lists(member, max_size=4).map(lambda each: f"{{{','.join(each)}}}")


documents = st.tuples(
    spaces,
    array(st.recursive(scalars, lambda inner: array(inner) | mapping(inner), max_leaves=8))
    | mapping(st.recursive(scalars, lambda inner: array(inner) | mapping(inner), max_leaves=8)),
    spaces,
).map("".join)


def read(text: str) -> Any:
    """JSON with nothing lost: numbers as they are written, members in order, also those of one name."""

    def number(written: str) -> tuple[str, str]:
        return "number", written

    def constant(word: str) -> None:
        raise ValueError(f"{word} is not in strict JSON")

    def members(pairs: list[tuple[str, object]]) -> tuple[str, object]:
        return "object", pairs

    return json.loads(text, parse_float=number, parse_int=number, parse_constant=constant, object_pairs_hook=members)


# --- JSON -------------------------------------------------------------------------------------------------------------


@given(documents)
def test_json_says_the_same(text: str) -> None:
    """However it is written, what is read from it is the same to the digit, and no space is left between tokens."""
    small = squeezed(text)
    assert read(small) == read(text)
    assert len(small) <= len(text)
    assert not re.search(r"\s", STRING.sub("", small))


@given(documents)
def test_only_once(text: str) -> None:
    """What was squeezed is as small as it gets: the same object comes back."""
    for tables in (False, True):
        small = squeezed(text, tables=tables)
        assert squeezed(small, tables=tables) is small


@pytest.mark.parametrize(
    "text, small",
    [
        ('{"a": 1.0, "b": [1e5, 0.10, -0]}', '{"a":1.0,"b":[1e5,0.10,-0]}'),
        ("[ 12345678901234567890 ]", "[12345678901234567890]"),
        ('{"b": 1, "a": 2, "b": 3}', '{"b":1,"a":2,"b":3}'),
        ('\n{\n  "a": "x : , y"\n}\n', '{"a":"x : , y"}'),
        (r'["\u6c34\u6cf5", "\ud83d\ude00", "\u003cb\u003e", "\/"]', '["水泵","😀","<b>","/"]'),
        (r'["\"  \\", "  \\\" "]', r'["\"  \\","  \\\" "]'),
        (r'["\u0041\u0000\u0022\u005C\u2028\u007f\u200d"]', r'["A\u0000\u0022\u005C\u2028\u007f\u200d"]'),
        (r'["\\u0041", "\\\u0041"]', r'["\\u0041","\\A"]'),
    ],
)
def test_json_for_example(text: str, small: str) -> None:
    """Numbers, order and duplicate keys stay; so do escapes that nobody could see otherwise."""
    assert squeezed(text) == small


@pytest.mark.parametrize(
    "text",
    [
        *("", "plain", "[1, 2", "[1, 2,]", "{'a': 1}", "[NaN, 1]", "[01, 2]", '["\t", 1]', "[1, 2] and more"),
        *('["\\ud800", 1]', '["\ud800", 1]', "\ufeff[1, 2]", "[1,\u00a02]", '["\\x", 1]', "7 ", '"a  b" '),
        *("[ " * 5000 + "]" * 5000, "[" * 10**6, '{"a": ' * 10**5, "[1]\0 ", "[" + " 1," * 1_400_000 + "1]"),
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_anything_else_is_left_alone(text: str) -> None:
    """Scalars, what is not strict JSON, what is nested or long beyond measure: the very same object."""
    assert squeezed(text) is text
    assert squeezed(text, tables=True) is text


# --- records as tables ------------------------------------------------------------------------------------------------


def untabled(table: str) -> Any:
    """The inverse: what a table of records says."""

    def value(cell: str) -> Any:
        try:
            return read(cell)
        except ValueError:
            return cell

    names, *rows = [
        [value(cell) for cell in re.findall(r'(?:^|,)("(?:[^"\\]|\\.)*"|[^,]*)', line)] for line in table.split("\n")
    ]
    return [("object", list(zip(names, row, strict=True))) for row in rows]


words = st.sampled_from(
    [
        *("x", "a b", " a", "a ", "true", "null", "7", "1e5", "-1.5E+7", "1e", "NaN", "2026-11-03T12:00Z", "", ","),
        *("[a", "{a", "|a", "|--|", "---", "3 kg", r"a\n", r"\"a", r"a\\", "水", "½", "'a'", "a\u2028", "a\u0301"),
    ]
).map(lambda word: f'"{word}"')


@st.composite
def records(draw: st.DrawFn) -> str:
    names = draw(st.lists(words | strings, min_size=1, max_size=4))
    rows = draw(st.lists(st.tuples(*[words | scalars] * len(names)), min_size=2, max_size=4))
    lines = [", ".join(f"{name}: {cell}" for name, cell in zip(names, row, strict=True)) for row in rows]
    return f"[{', '.join(f'{{{line}}}' for line in lines)}]"


@given(records())
def test_tables_can_be_undone(text: str) -> None:
    """From a table come exactly the records it was made of, and a table is never taken for something to squeeze."""
    small = squeezed(text, tables=True)
    assert (untabled(small) if not small.startswith("[{") else read(small)) == read(text)
    assert squeezed(small, tables=True) is small


def test_a_table_for_example() -> None:
    """Strings have no quotes unless they could be taken for numbers, words of JSON, or more than one cell."""
    listed = [
        {"id": 1, "name": "mixing valve", "since": "2026-11-03", "note": "a, b", "open": True},
        {"id": 2, "name": "null", "since": "1e5", "note": None, "open": False},
    ]
    assert squeezed(json.dumps(listed), tables=True) == (
        'id,name,since,note,open\n1,mixing valve,"2026-11-03","a, b",true\n2,"null","1e5",null,false'
    )


@pytest.mark.parametrize(
    "text",
    [
        *('[{"a":1}]', '[{"a":1},{"b":2}]', '[{"a":1},{"a":[2]}]', '[{"a":1},{"a":{}}]', "[{},{}]", "[[1],[2]]"),
        *('[{"a":1,"b":2},{"b":2,"a":1}]', '[{"a":1},2]', '[1,{"a":1},{"a":1}]', '{"a":[{"b":1},{"b":2}]}', "[]"),
        *('[{"a":1},{"a":1,"b":2}]', '[{"a":{"b":1}},{"a":{"b":1}}]', '[{"a":1},{}]'),
    ],
)
def test_other_json_is_no_table(text: str) -> None:
    """Records must be flat, of the same keys in the same order, and more than one."""
    assert squeezed(text, tables=True) is text


# --- Markdown ---------------------------------------------------------------------------------------------------------

RENDER = MarkdownIt("commonmark").enable("table")

lines = st.sampled_from(
    [
        *("", "", "  ", "\t", "text", "# head", "***", "---", "===", "[a]: b", "`code", "code`"),
        *("| a   | b |", "| a   | b |", "|-----|-----|", "|-----|-----|", "|  --- | :---: |", "| - | - |"),
        *("| x  |  y  | z |", "|:----|----:|----|", "| one   ", "|  one |", "|-------", "|  ---  |", "|", "|   |   |"),
        *("| `a | b`   | c |", "| a \\|  b  | c |", "| a \\ | b  |", "| `` x ``  |   |", "| \\`a  | b` |  c |"),
        *("| a \\\\|  b  |", "| `x`   | `y` |", "| <!-- a   | b |", "| a\t|\tb\t|\t", "| a   | b |   ", "| 水  | 😀 |"),
        *("```", "```python", "~~~", "~~~ a `b`", "````", "``` x ``` y", " ```", "   ~~~", "    ```", "\t```"),
        *("- ```", "> ```", "1. ~~~", "  ````", "- item", "* item", "12) item", "> quote", "[^1]: note"),
        *("    | a   | b |", "    |-----|---|", "\t|-----|---|", " | a   | b |", " |-----|---|", "  | a   | b |"),
        *("> | a   | b |", "> |-----|---|", "- | a   | b |", "  |-----|---|", "a  | b  ", "--- | ---", ":--"),
        *("<div>", "</div>", "<pre>", "</pre>", "text <pre>", "<!-- note", "-->", "<?x"),
    ]
)


@settings(max_examples=600)
@given(st.lists(lines, max_size=14).map("\n".join))
def test_markdown_renders_the_same(text: str) -> None:
    """A renderer shows the same tables, and code blocks keep every byte, however lines are put together."""
    small = squeezed(text)
    assert RENDER.render(small) == RENDER.render(text)
    assert squeezed(small) is small


@given(st.sampled_from(["```", "~~~~", "```text"]), st.lists(lines, max_size=8), st.booleans())
def test_code_keeps_every_byte(fence: str, inside: list[str], closed: bool) -> None:
    """Between fences, and after one that is never closed, nothing changes; what looks like a fence inside is none."""
    code = "\n".join([fence, *(line for line in inside if not line.strip().startswith(fence[:3]))])
    table = "| a   | b |\n|-----|---|\n| 1   | 2 |\n"
    end = f"\n{fence.removesuffix('text')}\n\n" if closed else "\n"
    small = "| a | b |\n|---|---|\n| 1 | 2 |\n"
    assert squeezed(table + code + end + table) == small + code + end + (small if closed else table)


def test_a_markdown_table_for_example() -> None:
    """Padding and dashes go, alignment and what cells hold stay; rows that renderers read differently stay whole."""
    text = (
        "Prices:\n"
        "| item        |  price  | note  `x  y`     |\n"
        "|-------------|:-------:|-----------------:|\n"
        "| pump  no 1  |  12.50  | a \\| b           |\n"
        "|             |         | `a | b`          |\n"
        "| valve       |\n"
        "\n"
        "| not a table  |\n"
    )
    assert squeezed(text) == (
        "Prices:\n"
        "| item | price | note  `x  y` |\n"
        "|---|:-:|--:|\n"
        "| pump  no 1 | 12.50 | a \\| b |\n"
        "|             |         | `a | b`          |\n"
        "| valve |\n"
        "\n"
        "| not a table  |\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "| a   | b |\n|-----|\n| 1   | 2 |",
        "| a   | b |\n|-----|-x-|\n",
        "- item\n| a   | b |\n|-----|---|\n",
        "<pre>\n\n| a   | b |\n|-----|---|\n\n</pre>",
        "- ```\n\n| a   | b |\n|-----|---|\n",
        "    | a   | b |\n    |-----|---|\n",
        "| a   | b |\r\n|-----|---|\r\n",
        "a   | b\n----|---\n1   | 2",
        "|\n|\n|   a   |   b   |\n|-",
    ],
)
def test_what_is_not_certainly_a_table(text: str) -> None:
    """Other counts of cells, containers, HTML, indented code and doubtful fences: the very same object."""
    assert squeezed(text) is text


@given(st.text() | st.text('|-: \n`~\\ab{}[]",1<>', max_size=60))
def test_any_text(text: str) -> None:
    """Nothing raises, nothing grows, and once is enough."""
    for tables in (False, True):
        small = squeezed(text, tables=tables)
        assert len(small) <= len(text)
        assert squeezed(small, tables=tables) is small


@pytest.mark.parametrize(
    "piece", ["`", "``` ", "|", "| ", "| -", "|-\n", "> ", " ", "\\", '"', '["', "{", "- ", "<", "1."]
)
def test_hostile_texts_take_no_longer(piece: str) -> None:
    """The time grows with the length and no faster: these would be hours."""
    long = piece * (200_000 // len(piece))
    for text in (long, f"[{long}", f"| a  |\n|--|\n|{long}", f"| a  |\n|-{long}\n", f'["{long}", 1]'):
        assert len(squeezed(text, tables=True)) <= len(text)


# --- messages ---------------------------------------------------------------------------------------------------------

LOOSE, TIGHT = '{"a": 1}', '{"a":1}'


@pytest.mark.parametrize("role", ["user", "tool", "function"])
def test_texts_of_users_and_tools(role: str) -> None:
    """Text is squeezed as a string and as parts; everything else of a message and of a part stays."""
    plain = {"role": role, "content": LOOSE, "tool_call_id": "1"}
    assert squeeze(plain) == {"role": role, "content": TIGHT, "tool_call_id": "1"}
    assert plain["content"] == LOOSE
    mark = {"type": "ephemeral"}
    image = {"type": "image_url", "image_url": {"url": LOOSE}}
    parts = [{"type": "text", "text": LOOSE, "cache_control": mark}, image, {"type": "other", "text": LOOSE}]
    squeezed_parts = squeeze({"role": role, "content": parts})["content"]
    assert squeezed_parts == [{"type": "text", "text": TIGHT, "cache_control": mark}, *parts[1:]]


@pytest.mark.parametrize("role", ["system", "developer", "assistant", "critic", None, 7, ["user"]])
def test_instructions_and_answers_are_never_touched(role: object) -> None:
    """Messages of these roles come back as they are."""
    for content in (LOOSE, [{"type": "text", "text": LOOSE}]):
        message: dict[str, object] = {"role": role, "content": content}
        assert squeeze(message) is message


def test_arguments_of_calls() -> None:
    """Of an assistant's calls the arguments are minified if they are JSON, and never made a table."""
    table = "| a   | b |\n|-----|---|"
    records = '[{"a": 1}, {"a": 2}]'
    arguments = [LOOSE, "", '{"a": ', table, records, None, 7]
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": each}} for each in arguments]
    message = {"role": "assistant", "content": LOOSE, "tool_calls": calls}
    result: Any = squeeze(message, tables=True)
    assert result["content"] == LOOSE
    assert [call["function"]["arguments"] for call in result["tool_calls"]] == [
        *(TIGHT, "", '{"a": ', table, '[{"a":1},{"a":2}]', None, 7)
    ]
    assert [call["id"] for call in result["tool_calls"]] == ["1"] * 7


def test_results_inside_user_messages() -> None:
    """Anthropic's tool_result blocks hold a text or parts: both are squeezed, pictures among them are not."""
    picture = {"type": "image", "source": {"data": LOOSE}}
    blocks = [
        {"type": "tool_result", "tool_use_id": "1", "content": LOOSE},
        {"type": "tool_result", "tool_use_id": "2", "content": [{"type": "text", "text": LOOSE}, picture]},
    ]
    assert squeeze({"role": "user", "content": blocks})["content"] == [
        {"type": "tool_result", "tool_use_id": "1", "content": TIGHT},
        {"type": "tool_result", "tool_use_id": "2", "content": [{"type": "text", "text": TIGHT}, picture]},
    ]


def test_tables_only_when_asked() -> None:
    """Records become a table in messages too, if that is wanted."""
    message = {"role": "tool", "content": '[{"a": 1}, {"a": 2}]'}
    assert squeeze(message)["content"] == '[{"a":1},{"a":2}]'
    assert squeeze(message, tables=True)["content"] == "a\n1\n2"


odd = st.recursive(
    st.none() | st.integers() | st.text(max_size=3) | st.sampled_from([LOOSE, "tool_result", "text", b"x", "水"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "text", "content", "function", "arguments"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.sampled_from(["user", "tool", "assistant", "system"]), odd, odd)
def test_odd_messages(role: str, content: object, calls: object) -> None:
    """Whatever a message holds, nothing raises, and one that has nothing to squeeze is the same object."""
    message: Mapping[str, object] = {"role": role, "content": content, "tool_calls": calls}
    once = squeeze(message)
    assert squeeze(once) is once
    assert (once is message) == (once == message)
