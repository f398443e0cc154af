"""What is read out of a question: its words, numbers, ids, units, dates, names and negations."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastclient.cache.guards import Text, analyse
from fastclient.cache.guards.lexicon import stem
from fastclient.cache.guards.spelling import slipped
from fastclient.cache.guards.text import LIMIT


@pytest.mark.parametrize(
    "text, numbers",
    [
        ("Transfer 1,250 to savings", {"1250"}),
        ("twenty five guests", {"25"}),
        ("two hundred and fifty chairs", {"250"}),
        ("three thousand words", {"3000"}),
        ("a 5k loan", {"5000"}),
        ("version 4.10 and version 4.1", {"4.10", "4.1"}),
        ("it costs 50.00", {"50"}),
        ("between 18-35", {"18", "35"}),
        ("the 21st floor", {"21"}),
        ("at 4:30pm", {"16:30"}),
        ("at 7 am", {"7"}),
        ("at 12am", {"0"}),
        ("ticket 00731", {"00731"}),
        ("one of them", set()),
    ],
)
def test_numbers_have_one_way_of_writing(text: str, numbers: set[str]) -> None:
    """Digits, number words, ordinals and times of day come out alike; versions and ids stay as they are."""
    assert analyse(text).numbers == numbers


@pytest.mark.parametrize(
    "text, ids",
    [
        ("Where is parcel PK-4471?", {"pk4471"}),
        ("release v2.3 notes", set()),
        ("learn C++ or C#", {"c++", "c#"}),
        ("repair of a Zx900", {"zx900"}),
        ("12 boxes", set()),
    ],
)
def test_ids_are_letters_with_digits_and_versions_are_none(text: str, ids: set[str]) -> None:
    """An id is compared as a whole, with or without its hyphen; `v2.3` is the number of a version."""
    assert analyse(text).ids == ids


@pytest.mark.parametrize(
    "text, units",
    [
        ("100ml of milk", {"ml"}),
        ("100 millilitres of milk", {"ml"}),
        ("$30 a month", {"usd", "month"}),
        ("30 dollars monthly", {"usd", "month"}),
        ("ten per cent", {"percent"}),
        ("in the house", set()),
        ("the second time", set()),
    ],
)
def test_units_have_one_name(text: str, units: set[str]) -> None:
    """Spellings of a unit are one; short words count as units beside a number only."""
    assert analyse(text).units == units


@pytest.mark.parametrize(
    "text, dates",
    [
        ("the report for 2031-05", {"may"}),
        ("the report for May 2031", {"may"}),
        ("May I see the report?", set()),
        ("closed on Sundays", {"sunday"}),
        ("the protest march", set()),
    ],
)
def test_dates_are_told_from_other_words(text: str, dates: set[str]) -> None:
    """`May` is a month with a number beside it or a capital inside a sentence, and a verb elsewhere."""
    assert analyse(text).dates == dates


@pytest.mark.parametrize(
    "text, count",
    [
        ("the pump won't start", 1),
        ("the pump wont start", 1),
        ("I don't know how to start it", 0),
        ("whether it starts or not", 0),
        ("non-smoking room", 1),
        ("no room without a bath", 2),
    ],
)
def test_what_denies_is_counted(text: str, count: int) -> None:
    """A negator counts where it denies something, however it is written."""
    assert len(analyse(text).negators) == count


@pytest.mark.parametrize(
    "words",
    [
        "renew renewing renewed renewal renewals",
        "pay paid payment payments",
        "activate activated activation activating",
        "city cities",
        "write wrote written writing",
        "box boxes",
        "Überweisung Überweisung",
    ],
)
def test_forms_of_a_word_have_one_stem(words: str) -> None:
    """Endings and irregular forms do not tell words apart."""
    assert len({stem(word.lower()) for word in words.split()}) == 1


@pytest.mark.parametrize(
    "one, other, alike",
    [
        ("invoice", "invocie", True),
        ("invoice", "invoce", True),
        ("invoice", "invoicee", True),
        ("registration", "registraton", True),
        ("bat", "cat", False),
        ("planet", "garden", False),
    ],
)
def test_a_slip_of_the_finger_is_seen(one: str, other: str, alike: bool) -> None:
    """One edit in a word of some length is a slip, an exchange of neighbours too; short words have no slips."""
    assert slipped(one, other) is alike and slipped(other, one) is alike


def test_a_repr_shows_nothing() -> None:
    """Questions do not reach logs through a repr."""
    assert "secret" not in repr(analyse("my secret diagnosis"))


def test_names_are_capitals_inside_a_sentence() -> None:
    """The first word of a sentence says nothing; a text all in capitals has no names."""
    assert analyse("Where does Zora live? Nobody knows.").names == {"zora"}
    assert not analyse("WHERE DOES ZORA LIVE").names


@given(st.text())
def test_any_text_can_be_analysed(text: str) -> None:
    """Nothing that can be typed raises, and the normal form has no capitals that lower case would change."""
    assert isinstance(analyse(text), Text)


SCRIPTS = [
    "Вопрос ",
    "質問は何ですか",
    "سؤال ",
    "प्रश्न ",
    "คำถาม",
    "질문 ",
    "a1-",
    "'",
    "don't",
    "1.",
    "-",
    "🙂",
    "x" * 50,
]


@pytest.mark.parametrize("piece", SCRIPTS)
def test_time_is_linear_in_any_script(piece: str) -> None:
    """Ten times the text takes not much more than ten times as long, up to the limit and beyond."""

    def took(text: str) -> float:
        def once() -> float:
            start = time.perf_counter()
            analyse(text)
            return time.perf_counter() - start

        return min(once() for _ in range(5))

    long = (piece * LIMIT)[:LIMIT]
    short = long[: LIMIT // 10]
    assert took(long) < 100 * took(short) + 0.02
    assert took(long * 50) < 1.0
