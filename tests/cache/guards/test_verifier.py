"""The verdict: what is always served, what never is, and what a conflict and a cosine can do to it."""

from __future__ import annotations

from math import inf, isfinite
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastclient.cache.guards import Kind, Verifier, analyse, verifier, verify
from fastclient.cache.guards.features import FEATURES, features
from fastclient.cache.guards.fitted import FITTED
from fastclient.cache.guards.overlap import overlap
from fastclient.cache.guards.text import LIMIT

KINDS: tuple[Kind, ...] = ("sentence", "lexical")
COSINES = st.floats(-1.0, 1.0)
VOCABULARY = """
How do I cancel renew extend my yearly gym membership contract in Oslo before after May 3 not without with no fee
from to by was hired needed Ann Bob Cid and or than more less bold timid secure insecure on off turn last next
will did becoming .
"""
QUESTIONS = st.lists(st.sampled_from(VOCABULARY.split()), max_size=24).map(" ".join)

ALIKE = [
    ("How do I renew my passport?", "renewing a passport, how does it work?"),
    ("Can I cancel my gym membership online?", "Is it possible to cancel a gym membership online?"),
    ("How do I change the battery of the smoke alarm?", "What are the steps to replace the smoke alarm's battery?"),
]
APART = [
    ("How do I renew my passport?", "How do I renew my library card?"),
    ("Can I cancel my gym membership online?", "Why was my gym membership cancelled?"),
    ("Who can use the sauna?", "When was the sauna built?"),
]


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text())
def test_the_same_text_is_always_served(kind: Kind, text: str) -> None:
    """Whatever the embedder makes of it, a question is its own paraphrase."""
    assert verify(analyse(text), analyse(text), -1.0, -1.0, kind=kind).probability == 1.0


@pytest.mark.parametrize(
    "one, other",
    [
        ("What's the fee?", "what is the fee"),
        ("I CAN'T OPEN THE GATE!!", "i can not open the gate"),
        ("Don\u2019t you ship to Malta?", "don't you ship to malta"),
        ("You're open, aren't you?", "you are open are not you"),
        ("How do I log in?", "how do i login"),
        ("e-mail the invoice", "Email the invoice."),
        ("It costs 1,200", "it costs 1200"),
        ("\ufb01le \u2116 \uff13", "file No 3"),
    ],
)
def test_case_punctuation_and_contractions_change_nothing(one: str, other: str) -> None:
    """What differs only in how it is typed is the same question."""
    assert verify(analyse(one), analyse(other), 0.0).probability == 1.0


@given(QUESTIONS, QUESTIONS, COSINES, st.floats(-1.0, 1.0), st.sampled_from(KINDS))
def test_a_verdict_does_not_depend_on_who_asked_first(
    one: str, other: str, cosine: float, margin: float, kind: Kind
) -> None:
    """Two questions are the same or not, whichever of them is stored."""
    there = verify(analyse(one), analyse(other), cosine, margin, kind=kind)
    back = verify(analyse(other), analyse(one), cosine, margin, kind=kind)
    assert there.probability == pytest.approx(back.probability, abs=1e-12)
    assert there.vetoes == back.vetoes


@given(st.text(), st.text(), COSINES)
def test_any_two_texts_get_a_verdict(one: str, other: str, cosine: float) -> None:
    """Nothing that can be typed raises, and a probability is one."""
    verdict = verify(analyse(one), analyse(other), cosine)
    assert 0.0 <= verdict.probability <= 1.0
    assert verdict.explain()


@given(QUESTIONS, QUESTIONS, COSINES, COSINES, st.sampled_from(KINDS))
def test_a_nearer_embedding_never_lowers_the_probability(
    one: str, other: str, first: float, second: float, kind: Kind
) -> None:
    """All else equal, nearer is likelier."""
    low, high = sorted((first, second))
    found = [verify(analyse(one), analyse(other), cosine, kind=kind).probability for cosine in (low, high)]
    assert found[0] <= found[1]


@given(QUESTIONS, QUESTIONS, COSINES, st.sampled_from(KINDS))
def test_no_pair_goes_beyond_the_bound_of_its_cosine(one: str, other: str, cosine: float, kind: Kind) -> None:
    """So a candidate that is too far away can be left out without being looked at."""
    a, b = analyse(one), analyse(other)
    if a.normal != b.normal:
        assert verify(a, b, cosine, kind=kind).probability <= verifier(kind).bound(cosine) + 1e-12


@given(st.floats(0.05, 0.95), st.sampled_from(KINDS))
def test_the_least_cosine_is_where_the_bound_reaches_the_floor(floor: float, kind: Kind) -> None:
    """Below it nothing can reach the floor."""
    least = verifier(kind).least_cosine(floor)
    assert verifier(kind).bound(least) >= floor or least == 1.0
    assert least == -1.0 or verifier(kind).bound(least - 0.001) < floor


@given(QUESTIONS, QUESTIONS, COSINES, st.floats(-0.3, 0.3), st.floats(0.05, 0.95), st.sampled_from(KINDS))
def test_a_floor_changes_no_verdict_that_reaches_it(
    one: str, other: str, cosine: float, margin: float, floor: float, kind: Kind
) -> None:
    """What is left out early would not have been served."""
    a, b = analyse(one), analyse(other)
    full, early = (verify(a, b, cosine, margin, kind=kind, floor=least) for least in (0.0, floor))
    assert (full.probability >= floor) == (early.probability >= floor)
    assert early.probability >= full.probability


def test_a_hopeless_pair_is_not_looked_at() -> None:
    """With a floor that its cosine cannot reach, a pair gets the bound and no veto."""
    verdict = verify(analyse("gate 5"), analyse("gate 6"), -1.0, floor=0.9)
    assert verdict.vetoes == () and 0.0 <= verdict.probability < 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_a_conflict_can_never_raise_the_probability(kind: Kind) -> None:
    """Each weight is on the side its feature belongs to."""
    assert all(FITTED[kind].get(one.name, 0.0) * one.sign >= 0 for one in FEATURES)
    assert set(FITTED[kind]) <= {"bias", *(one.name for one in FEATURES)}
    with pytest.raises(ValueError, match="names"):
        Verifier({"bias": 0.0, "names": 0.5})


@given(QUESTIONS, QUESTIONS, COSINES, st.floats(allow_nan=False))
def test_features_stay_within_what_they_say(one: str, other: str, cosine: float, margin: float) -> None:
    """There is one value for each feature, and none beyond its largest."""
    a, b = analyse(one), analyse(other)
    values = features(a, b, overlap(a, b), cosine, margin)
    assert len(values) == len(FEATURES)
    assert all(isfinite(value) and value <= each.most for value, each in zip(values, FEATURES, strict=True))


@pytest.mark.parametrize("asked, stored", ALIKE)
def test_a_paraphrase_beats_another_question_at_the_same_cosine(asked: str, stored: str) -> None:
    """Where the embedding sees no difference, the words do."""
    alike = verify(analyse(asked), analyse(stored), 0.85).probability
    assert alike > 0.5
    assert all(alike > verify(analyse(one), analyse(other), 0.85).probability for one, other in APART)


def test_a_rival_that_is_nearer_lowers_the_probability() -> None:
    """A stored question with another answer, nearer than this one, speaks against it; none at all proves nothing."""
    pair = (analyse(ALIKE[0][0]), analyse(ALIKE[0][1]))
    alone = verify(*pair, 0.85, inf).probability
    assert verify(*pair, 0.85, -0.1).probability < alone
    assert verify(*pair, 0.85, 0.0).probability == alone


def test_questions_without_a_word_in_common_are_not_served() -> None:
    """However near their embeddings are: an encoder may know neither of them."""
    assert verify(analyse("🙂"), analyse("🙁"), 1.0).vetoes == ("words",)
    assert verify(analyse("什么是光"), analyse("谁发明电"), 1.0).vetoes == ("words",)
    assert verify(analyse("How does it work?"), analyse("Who are you?"), 1.0).vetoes == ("words",)


def test_other_words_for_the_same_are_judged_and_not_taken_for_granted() -> None:
    """`Pick up` may be `collect`, but only what is spelt in another way is the same text."""
    assert (
        0.0
        < verify(analyse("How do I pick up my parcel?"), analyse("How do I collect my parcel?"), 0.9).probability
        < 1.0
    )


WORST = ["open not a b1 ", "before after from x to y by was ", "ümlaut wörter ", "unsafe safe insafe ", "什么是光"]


@pytest.mark.parametrize("piece", WORST)
def test_long_pairs_take_no_longer_than_their_length_allows(piece: str) -> None:
    """Two texts at the limit that differ everywhere are judged in well under a tenth of a second a kilobyte."""
    one = analyse("".join(f"{piece}{chr(97 + at % 26)}{at:x} " for at in range(LIMIT))[:LIMIT])
    other = analyse("".join(f"{at:x}{chr(122 - at % 26)} {piece}" for at in range(LIMIT))[:LIMIT])
    start = perf_counter()
    verify(one, other, 0.9)
    features(one, other, overlap(one, other), 0.9, 0.0)
    assert perf_counter() - start < 0.4


def test_a_verdict_explains_itself_and_its_repr_does_not() -> None:
    """The reasons quote the words concerned; a repr that may reach a log quotes nothing."""
    verdict = verify(analyse("insulin for 3 days"), analyse("insulin for 9 days"), 0.97)
    assert verdict.explain() == ("number: 3 asked, 9 stored",)
    assert "3" not in repr(verdict) and "insulin" not in repr(verdict)
    soft = verify(analyse("How do I clean the oven door?"), analyse("How do I clean the glass oven door?"), 0.9)
    assert any("glass" in reason for reason in soft.explain())
