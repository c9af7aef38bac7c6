from __future__ import annotations

import hashlib
import sys
import unicodedata

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from mwanda.errors import InputError
from mwanda.text.shared_sentences import _END, overlap, pack_hashes, sentence_hashes, unpack_hashes

LONG = "the committee met again on thursday afternoon"
# Two sentences of 30 or more bytes each, whatever their script's way to end one.
TWO = [
    "The first sentence is long enough here. The second one is long enough as well!",
    "第一个句子在这里足够长可以计算哈希值。第二个句子在这里也足够长可以计算哈希值！",
    "यह पहला वाक्य यहाँ काफी लंबा है। यह दूसरा वाक्य भी काफी लंबा है॥",
    "هذه هي الجملة الأولى وهي طويلة؟ وهذه هي الجملة الثانية وهي طويلة",
    "یہ پہلا جملہ ہے جو کافی لمبا ہے۔ یہ دوسرا جملہ ہے جو کافی لمبا ہے۔",
    "ይህ የመጀመሪያው ዓረፍተ ነገር ነው። ይህ ሁለተኛው ዓረፍተ ነገር ነው።",
    "Well, the first one trails off here… And then the second goes on for a while…",
    "Πού ήσουν σήμερα το πρωί; Σε περιμένω εδώ από χθες το βράδυ.",
    "Πού ήσουν σήμερα το πρωί\u037e Σε περιμένω εδώ από χθες το βράδυ.",
    "ᐊᒃᓱᐊᓗᒃ ᐱᐅᔪᖅ ᐅᓪᓗᖅ ᐅᓪᓗᒥ᙮ ᐃᓄᐃᑦ ᓄᓇᖓᓐᓂ ᐱᐅᔪᐊᓗᒃ᙮",
    "ꕉꕜꕮ ꔔꘋ ꖸ ꔰ ꗋꘋ ꕮꕨ ꔔꘋ꘎ ꖸ ꕎ ꕉꖸꕊ ꕴꖃ ꕃꔤꘂ ꗱꕞꔤ꘎",
    "One line that has no terminal mark\nand another line that has none either",
]


@pytest.mark.parametrize("text", TWO)
def test_sentences_end_at_the_marks_of_every_script(text: str) -> None:
    assert len(list(sentence_hashes(text))) == 2


def test_a_hash_is_the_start_of_sha256_of_the_plain_sentence() -> None:
    expected = hashlib.sha256(LONG.encode()).digest()[:8]
    for text in (LONG, f"  {LONG.upper()}. ", LONG.replace(" ", " \t") + "?!", f"Yes. {LONG}."):
        assert list(sentence_hashes(text)) == [expected]


def test_numbers_and_names_with_full_stops_are_not_cut() -> None:
    (first,) = sentence_hashes("Version 3.14 of gnome.org was released in the spring of 2023.")
    (second,) = sentence_hashes("version 3.14 of gnome.org was released in the spring of 2023")
    assert first == second


def test_a_semicolon_ends_a_sentence_in_greek_alone() -> None:
    assert len(list(sentence_hashes(f"{LONG}; {LONG} again"))) == 1
    seen = frozenset(sentence_hashes(TWO[7] + " Κι άλλη μία πρόταση."))
    assert overlap(TWO[8].split("\u037e "), seen) == [0, 1]


def test_the_marks_are_those_that_unicode_names() -> None:
    named = [chr(n) for n in range(sys.maxunicode) if regex.match(r"\p{Sentence_Terminal}", chr(n))]
    assert len(named) > 100
    missing = [mark for mark in named if not _END.match(unicodedata.normalize("NFKC", mark))]
    assert missing == []


def test_short_pieces_are_left_out() -> None:
    assert list(sentence_hashes("Preamble. Article 1\nYes!\n\n")) == []


def test_texts_that_share_a_sentence_are_found() -> None:
    seen = frozenset(sentence_hashes(f"Something else that is long enough. {LONG}."))
    texts = ["nothing of the kind in this one at all", f"{LONG.title()}! And more.", "", LONG]
    assert overlap(texts, seen) == [1, 3]
    assert overlap(texts, frozenset()) == []


@given(st.sets(st.binary(min_size=8, max_size=8)))
def test_hashes_survive_packing(hashes: set[bytes]) -> None:
    packed = pack_hashes(hashes)
    assert unpack_hashes(packed) == hashes
    assert packed == pack_hashes(sorted(hashes, reverse=True))


@given(st.text())
def test_any_text_can_be_hashed(text: str) -> None:
    assert all(len(sentence) == 8 for sentence in sentence_hashes(text))


@pytest.mark.parametrize("packed", ["AAAA", "not base64!", "é", "AAAAAAAAAAA"])
def test_damaged_hashes_are_refused(packed: str) -> None:
    with pytest.raises(InputError, match="sentence hashes: expected base64 of 8-byte hashes"):
        unpack_hashes(packed)
