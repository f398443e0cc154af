"""A prompt as a line of positions where breakpoints may stand: behind the tools, each message, and each document."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate

from fastclient.prompt.arrange import parts_of
from fastclient.prompt.breakpoints import Line
from fastclient.prompt.layout import Place
from fastclient.prompt.piece import Prepared
from fastclient.prompt.rules import Rules
from fastclient.prompt.tokens import size_of
from fastclient.prompt.wire import fingerprint, on_the_wire

__all__ = ["line_of"]

_MEDIA = ("text", "image_url", "image", "file", "document", "input_text", "input_image", "input_file", "tool_result")


def line_of(prepared: Prepared, rules: Rules) -> tuple[Line, Sequence[Place] | None]:
    """The line, and the place of each position; None if position i is simply behind message i - 1.

    A prompt with one turn may be all there ever is of it, so what follows its static part counts as passing; with more,
    what is there up to the tail will be there the next time.
    """
    pieces = prepared.pieces
    alone = prepared.tail <= prepared.static + 1
    line = Line(
        ends=list(accumulate([piece.size for piece in pieces], initial=prepared.tools.size)),
        chain=prepared.chain,
        blocks=list(accumulate([piece.blocks for piece in pieces], initial=0)),
        static=prepared.static,
        history=prepared.static if alone else prepared.tail,
        markable=partial(_markable, prepared, rules, None),
        family=prepared.chain[prepared.static],
    )
    return _with_documents(line, prepared, rules, alone=alone) if prepared.documents else (line, None)


def _with_documents(line: Line, prepared: Prepared, rules: Rules, *, alone: bool) -> tuple[Line, Sequence[Place]]:
    """The same line with a position behind each document."""
    ends, chain, blocks = [line.ends[0]], [line.chain[0]], [0]
    places, behind, documents = [Place(None)], [0], []
    counts = {group.message: group.parts for group in prepared.documents}
    for number, piece in enumerate(prepared.pieces):
        before, so_far = chain[-1], blocks[-1]
        for part_number, part in enumerate(parts_of(piece.message)[: counts.get(number, 0)]):
            documents.append(len(ends))
            ends.append(ends[-1] + size_of({"content": [part]}).n)
            before = hash((before, fingerprint(on_the_wire(part))))
            chain.append(before)
            blocks.append(so_far + part_number + 1)
            places.append(Place(number, part_number))
        ends.append(line.ends[number + 1])
        chain.append(line.chain[number + 1])
        blocks.append(line.blocks[number + 1])
        places.append(Place(number))
        behind.append(len(ends) - 1)
    return (
        line._replace(
            ends=ends,
            chain=chain,
            blocks=blocks,
            static=behind[line.static],
            history=documents[-1] if alone and documents else behind[line.history],
            documents=documents,
            markable=partial(_markable, prepared, rules, places),
        ),
        places,
    )


def _markable(prepared: Prepared, rules: Rules, places: Sequence[Place] | None, position: int) -> bool:
    """Whether a marker may be written at this position."""
    at = position - 1 if places is None else places[position].message
    if at is None or at < 0:
        return rules.assistant and bool(prepared.tools.names)
    message = prepared.pieces[at].message
    if message["role"] == "assistant" and not rules.assistant:
        return False
    content = message.get("content")
    if isinstance(content, str) and content:
        return True
    if rules.assistant and message.get("tool_calls"):
        return True
    return any(part.get("type") in _MEDIA for part in parts_of(message)[-1:])
