from __future__ import annotations

from typing import Any

from mwanda.cli.demo.__main__ import REPORT_TOKENS, SEEN, report_texts
from mwanda.text.languages import script_of
from mwanda.text.shared_sentences import sentence_hashes
from mwanda.text.sources import open_source


def by_words(text: str, *, add_special_tokens: bool) -> dict[str, Any]:
    return {"input_ids": [len(word) for word in text.split()]}


def test_the_demo_reports_text_that_it_does_not_calibrate_on() -> None:
    texts = report_texts(by_words).texts
    calibration = open_source("bundled:udhr/first")
    for tag, group in texts.items():
        known = {h for d in calibration.documents(tag) for h in sentence_hashes(d.text)}
        assert group
        assert not any(known & set(sentence_hashes(text)) for text in group)


def test_the_demo_reports_enough_languages_and_scripts_and_text() -> None:
    texts = report_texts(by_words).texts
    assert len(texts) >= 24
    assert len({script_of(tag) for tag in texts}) >= 10
    assert set(SEEN) < set(texts)
    english = sum(len(text.split()) for text in texts["en"])
    assert REPORT_TOKENS <= english < REPORT_TOKENS + 150


def test_the_demo_reports_the_same_text_every_time() -> None:
    assert report_texts(by_words).sha256 == report_texts(by_words).sha256
