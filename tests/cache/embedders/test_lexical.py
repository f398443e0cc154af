"""Vectors from letters: any text, any script, the same in every process."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastclient.cache.embedders import Lexical

LEXICAL = Lexical()


def likeness(first: str, second: str) -> float:
    rows = LEXICAL.embed([first, second])
    return float(rows[0] @ rows[1])


@given(st.lists(st.text(st.characters(), max_size=60), max_size=4))
def test_rows_have_length_one_or_are_zero(texts: list[str]) -> None:
    """Any texts, half characters included: one float32 row each, of length 1, or 0 where nothing was to be read."""
    rows = LEXICAL.embed(texts)
    assert rows.shape == (len(texts), LEXICAL.dim) and rows.dtype == np.float32
    lengths = np.linalg.norm(rows, axis=1)
    assert np.all((np.abs(lengths - 1) < 1e-5) | (lengths == 0))


@given(st.text(max_size=40), st.text(max_size=40))
def test_neighbours_change_nothing(first: str, second: str) -> None:
    """A text has the same row alone and among others."""
    assert np.array_equal(LEXICAL.embed([first, second])[1], LEXICAL.embed([second])[0])


@pytest.mark.parametrize(
    "asked, same, other",
    [
        ("How do I reset my password?", "how can I reset the password", "What is the capital of France?"),
        ("Как вернуть повреждённый заказ?", "как мне вернуть заказ", "Сколько стоит доставка?"),
        ("如何重置我的密码?", "怎么重置密码", "今天天气怎么样?"),
        ("パスワードを再設定するには?", "パスワードの再設定方法", "今日の天気はどうですか"),
        ("मैं अपना पासवर्ड कैसे रीसेट करूँ?", "पासवर्ड रीसेट कैसे करें", "आज मौसम कैसा है?"),
        ("ฉันจะรีเซ็ตรหัสผ่านได้อย่างไร", "วิธีรีเซ็ตรหัสผ่าน", "วันนี้อากาศเป็นอย่างไร"),
        ("كيف أعيد تعيين كلمة المرور؟", "إعادة تعيين كلمة المرور", "ما هي عاصمة فرنسا؟"),
    ],
)
def test_likeness_follows_the_wording_in_every_script(asked: str, same: str, other: str) -> None:
    """In seven scripts: the same words in another order are nearer than other words."""
    assert likeness(asked, same) > likeness(asked, other) + 0.1


@pytest.mark.parametrize("changed", ["HOW DO I RESET IT", "how do i reset it?!", "  how  do i reset it "])
def test_case_and_punctuation_do_not_count(changed: str) -> None:
    """The letters and digits count, in their order."""
    assert likeness("How do I reset it?", changed) == pytest.approx(1.0, abs=1e-6)


def test_forms_of_one_character_are_one() -> None:
    """Composed and decomposed accents, and full-width letters, are the same text."""
    assert likeness("cafe\u0301 ABC", "caf\u00e9 \uff21\uff22\uff23") == pytest.approx(1.0, abs=1e-6)


def test_every_process_makes_the_same_vectors() -> None:
    """The hashes are not those of the interpreter, which differ from process to process."""
    code = "from fastclient.cache.embedders import Lexical; print(Lexical().embed(['Grüße an alle']).tobytes().hex())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == LEXICAL.embed(["Grüße an alle"]).tobytes().hex()


def test_time_grows_with_the_text_and_no_faster() -> None:
    """Fifty times the text takes no more than about that: nothing is quadratic."""

    def fastest(text: str) -> float:
        took = []
        for _ in range(5):
            began = time.perf_counter()
            LEXICAL.embed([text])
            took.append(time.perf_counter() - began)
        return min(took)

    text = "".join(chr(0x4E00 + at % 999) for at in range(2000)) + " word\u0301 " * 500
    assert fastest(text * 50) < 500 * fastest(text)
