"""A prompt as a line of positions where breakpoints may stand: behind the tools, each message, and each document."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate

from fastclient.prompt.arrange import parts_of
from fastclient.prompt.breakpoints import Line
from fastclient.prompt.layout import Place
from fastclient.prompt.piece import Prepared, link
from fastclient.prompt.rules import Rules
from fastclient.prompt.tokens import size_of
from fastclient.prompt.wire import fingerprint, on_the_wire

__all__ = ["line_of"]

_FRAME = size_of({}).n  # of each message
_MEDIA = ("text", "image_url", "image", "file", "document", "input_text", "input_image", "input_file", "tool_result")
_SYSTEM = ("system", "developer")
_IN_FRONT = ("response_format",)  # of the prompt, where providers put it
_BEHIND = ("tool_choice", "thinking")  # Anthropic: messages are not found again under another


def line_of(prepared: Prepared, rules: Rules) -> tuple[Line, Sequence[Place] | None]:
    """The line, and the place of each position; None if position i is simply behind message i - 1.

    A prompt with one turn may be all there ever is of it, so what follows its static part counts as passing; with more,
    what is there up to the tail will be there the next time.
    """
    pieces = prepared.pieces
    order = _order(prepared) if rules.system_first else None
    if prepared.documents or order is not None:
        line, places = _placed(prepared, rules, range(len(pieces)) if order is None else order)
        return _under(line, prepared, rules), places
    line = Line(
        ends=list(accumulate([piece.size for piece in pieces], initial=prepared.tools.size)),
        chain=prepared.chain,
        blocks=list(accumulate([piece.blocks for piece in pieces], initial=0)),
        static=prepared.static,
        history=prepared.static if prepared.is_alone else prepared.tail,
        markable=partial(_markable, prepared, rules, None),
        family=prepared.chain[prepared.static],
    )
    return _under(line, prepared, rules), None


def _order(prepared: Prepared) -> Sequence[int] | None:
    """The messages as they are sent if system messages come first; None if they do anyway."""
    system = [at for at, piece in enumerate(prepared.pieces) if piece.message["role"] in _SYSTEM]
    if not system or system[-1] == len(system) - 1:
        return None
    others = sorted({*range(len(prepared.pieces))}.difference(system))
    return [*system, *others]


def _placed(prepared: Prepared, rules: Rules, order: Sequence[int]) -> tuple[Line, Sequence[Place]]:
    """The line of messages in this order, with a position behind each document."""
    ends, chain, blocks = [prepared.tools.size], [prepared.tools.print], [0]
    places, behind, documents = [Place(None)], {-1: 0}, []
    counts = {group.message: group.parts for group in prepared.documents}

    def add(place: Place, end: float, beginning: int, so_far: int) -> None:
        ends.append(end)
        chain.append(beginning)
        blocks.append(so_far)
        places.append(place)

    for place, number in enumerate(order):
        piece, end, beginning, so_far = prepared.pieces[number], ends[-1], chain[-1], blocks[-1]
        for at, part in enumerate(parts_of(piece.message)[: counts.get(number, 0)]):
            documents.append(len(ends))
            within = hash((chain[-1], fingerprint(on_the_wire(part))))
            add(Place(number, at), ends[-1] + size_of({"content": [part]}).n - _FRAME, within, so_far + at + 1)
        behind[number] = len(ends)
        add(Place(number), end + piece.size, link(beginning, piece, place), so_far + piece.blocks)

    static = behind[prepared.static - 1]
    history = static
    if not prepared.is_alone:
        history = max(behind[number] for number in range(prepared.tail))
    elif documents:
        history = documents[-1]
    markable = partial(_markable, prepared, rules, places)
    return Line(ends, chain, blocks, static, history, documents, markable, family=chain[static]), places


def _under(line: Line, prepared: Prepared, rules: Rules) -> Line:
    """The same line, told from those of requests with other parameters that providers hash with the prompt."""
    first, names = (line.static + 1, _BEHIND) if rules.system_first else (0, _IN_FRONT)
    get = prepared.request.params.get
    given = [(name, value) for name in names if (value := get(name)) is not None]
    if not given:
        return line
    said = fingerprint(on_the_wire(given))
    chain = [*line.chain[:first], *(hash((said, beginning)) for beginning in line.chain[first:])]
    return line._replace(chain=chain, family=chain[line.static])


def _markable(prepared: Prepared, rules: Rules, places: Sequence[Place] | None, position: int) -> bool:
    """Whether a marker may be written at this position."""
    place = Place(position - 1 if position else None) if places is None else places[position]
    if place.message is None:
        return rules.assistant and bool(prepared.tools.names)
    message = prepared.pieces[place.message].message
    if message["role"] in ("assistant", "function"):
        if not rules.assistant:
            return False
        if message.get("tool_calls"):
            return True
    content = message.get("content")
    if isinstance(content, str):
        return bool(content)
    parts = parts_of(message)
    return bool(parts) and _takes_marker(parts[-1 if place.part is None else place.part])


def _takes_marker(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") in _MEDIA and part.get("text") != ""
