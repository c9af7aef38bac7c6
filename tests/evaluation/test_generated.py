"""Repetition and the wrong language, told from text alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mwanda.errors import InputError
from mwanda.evaluation.generated import (
    DEGENERATE,
    GRAM,
    LanguageCheck,
    check_generated,
    repeated_share,
)
from mwanda.system.extras import need
from mwanda.text.languages import canonical

GERMAN = "Alle Menschen sind frei und gleich an Würde und Rechten geboren."
HINDI = "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता प्राप्त है।"


@pytest.fixture(scope="module")
def check() -> LanguageCheck:
    return LanguageCheck()


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0), ("abc", 0), ("abcd", 0), ("aaaaa", 1 / 2), ("aaaaaaaa", 4 / 5),
        ("abcdabcd", 1 / 5), ("ab  cd", 0), ("ab \n cd", 0),
    ],
)  # fmt: skip
def test_the_share_of_sequences_seen_before(text: str, share: float) -> None:
    assert repeated_share(text) == pytest.approx(share)


@given(st.text(max_size=80))
def test_a_text_said_again_adds_no_sequences_but_those_over_the_seam(text: str) -> None:
    once, twice = text, f"{text} {text}"
    assert 0 <= repeated_share(once) < 1
    assert distinct(twice) <= distinct(once) + GRAM


def distinct(text: str) -> int:
    """How many sequences of a text did not stand in it before."""
    sequences = max(len(" ".join(text.split())) - GRAM + 1, 0)
    return round((1 - repeated_share(text)) * sequences)


@given(st.text(alphabet="abcdeßथ日", min_size=4, max_size=20))
def test_a_phrase_four_times_is_degenerate(phrase: str) -> None:
    assert repeated_share(" ".join([phrase] * 4)) > DEGENERATE


def test_languages_and_repetition_are_counted(check: LanguageCheck) -> None:
    texts = [GERMAN, GERMAN + " Sie sind mit Vernunft und Gewissen begabt.", HINDI, "…", ""]
    found = check_generated(texts, "de", check)
    assert (found.texts, found.empty, found.repetitive) == (5, 2, 0)
    assert found.other_language == pytest.approx(1 / 3)
    assert check_generated(["das ist so " * 9], "de", check).repetitive == 1
    assert check_generated([], "de", check).as_dict() == {
        "texts": 0, "empty": 0, "repetitive": 0, "other_language": 0,
    }  # fmt: skip


def test_a_language_it_does_not_know_has_no_share(check: LanguageCheck) -> None:
    assert check.labels("tlh") == ()
    assert check_generated([GERMAN], "tlh", check).other_language is None
    assert check.is_other(GERMAN, "tlh") is None
    assert (check.labels("nb"), check.labels("nn")) == (("no",), ("nn", "no"))
    assert check.labels("zh-Hant") == ("zh",)


@pytest.mark.parametrize(
    ("written", "label"),
    [("tl", "tl"), ("fil", "tl"), ("gug", "gug"), ("ki", "kik"), ("quy", "qu"), ("pbt", "ps"),
     ("arz", "arz"), ("swh", "sw"), ("yue", "yue"), ("hr", "hr")],
)  # fmt: skip
def test_a_language_is_known_by_whatever_code(
    check: LanguageCheck, written: str, label: str
) -> None:
    assert check.labels(canonical(written)) == (label,)


@pytest.mark.parametrize("written", ["ckb", "azb", "min", "bjn"])
def test_of_other_kinds_of_a_wider_language_nothing_is_told(
    check: LanguageCheck, written: str
) -> None:
    assert check.labels(written) == ()


def test_a_missing_library_names_its_extra() -> None:
    with pytest.raises(InputError, match=r"not installed; pip install 'mwanda\[translation\]'"):
        need("no_such_library", "BLEU", "translation")
