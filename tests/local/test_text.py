"""Tokens become text, whatever their borders cut through."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fastclient.local.text import Characters, Stops


def fed(stops: list[str], pieces: list[str]) -> tuple[str, bool]:
    """What comes out for these pieces, and whether a stop string did."""
    matcher, out = Stops(stops), ""
    for piece in pieces:
        text, hit = matcher.feed(piece)
        out += text
        if hit:
            return out, True
    return out + matcher.end(), False


def cuts(text: str, at: list[int]) -> list[str]:
    """The text in pieces."""
    places = sorted({0, len(text), *(each % (len(text) + 1) for each in at)})
    return [text[begin:end] for begin, end in pairwise(places)]


@given(st.text(), st.lists(st.integers(0, 400)))
def test_characters_survive_any_cut(text: str, at: list[int]) -> None:
    """However the bytes are cut, the same characters come out."""
    raw = text.encode()
    places = sorted({0, len(raw), *(each % (len(raw) + 1) for each in at)})
    characters = Characters()
    out = "".join(characters.feed(raw[begin:end]) for begin, end in pairwise(places))
    assert out + characters.end() == text


@given(st.lists(st.binary(max_size=6)))
def test_broken_bytes_become_the_replacement_character(pieces: list[bytes]) -> None:
    """What is no UTF-8 comes out as Python would replace it, in one go or in pieces."""
    characters = Characters()
    assert "".join(map(characters.feed, pieces)) + characters.end() == b"".join(pieces).decode("utf-8", "replace")


def test_half_a_character_waits() -> None:
    """Nothing comes out before a character is whole."""
    characters, smile = Characters(), "🙂".encode()
    assert [characters.feed(smile[at : at + 1]) for at in range(4)] == ["", "", "", "🙂"]


@given(
    st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3),
    st.text("abc"),
    st.lists(st.integers(0, 99)),
)
def test_a_stop_string_is_found_across_pieces(stops: list[str], text: str, at: list[int]) -> None:
    """The text ends before the first stop string, wherever pieces begin; without one all of it comes out."""
    found = [text.find(stop) for stop in stops if stop in text]
    out, hit = fed(stops, cuts(text, at))
    assert hit == bool(found)
    if not found:
        assert out == text
    elif not any(at):
        assert out == text[: min(found)]
    else:  # a stop string that is whole earlier may end it before a longer one that began earlier
        assert text.startswith(out) and any(text[len(out) :].startswith(stop) for stop in stops)


def test_only_what_may_become_a_stop_string_is_held_back() -> None:
    """Text flows on as soon as it cannot begin a stop string any more."""
    matcher = Stops(["END"])
    assert [matcher.feed(piece)[0] for piece in ("a", "bE", "N", "x")] == ["a", "b", "", "ENx"]
