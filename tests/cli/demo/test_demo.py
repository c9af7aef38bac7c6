from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mwanda.cli.demo import __main__ as demo
from mwanda.cli.demo.__main__ import (
    LENGTH,
    RECOVERED,
    SCORED_TOKENS,
    SEEN,
    SPARSITY,
    WINDOWS,
    main,
    study,
    write_texts,
)
from mwanda.study.document import StudyDocument
from mwanda.text.languages import script_of
from mwanda.text.shared_sentences import sentence_hashes
from mwanda.text.sources import open_source


def by_words(text: str, *, add_special_tokens: bool) -> dict[str, Any]:
    return {"input_ids": [len(word) for word in text.split()]}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    write_texts(folder, by_words)
    return folder


def texts_of(folder: Path) -> dict[str, list[str]]:
    source = open_source(str(folder))
    return {tag: [d.text for d in source.documents(tag)] for tag in source.languages()}


def test_the_demo_scores_text_that_it_does_not_calibrate_on(texts: Path) -> None:
    calibration = texts_of(texts / "calibration")
    for tag, group in texts_of(texts / "scored").items():
        known = {h for text in calibration[tag] for h in sentence_hashes(text)}
        assert group
        assert not any(known & set(sentence_hashes(text)) for text in group)


def test_the_demo_scores_enough_languages_and_scripts_and_text(texts: Path) -> None:
    scored = texts_of(texts / "scored")
    assert len(scored) >= 24
    assert len({script_of(tag) for tag in scored}) >= 10
    assert set(SEEN) < set(scored)
    assert all(len(group) == 1 for group in scored.values())
    assert SCORED_TOKENS <= len(scored["en"][0].split()) < SCORED_TOKENS + 30


def test_english_has_text_for_as_many_windows_as_there_are_languages(texts: Path) -> None:
    """Gemma's tokenizer takes 1,698 tokens for these articles, 1.13 a word."""
    words = sum(len(text.split()) for text in texts_of(texts / "calibration")["en"])
    assert 1.13 * words > len(SEEN) * LENGTH


def test_the_demo_writes_the_same_text_every_time(texts: Path, tmp_path: Path) -> None:
    write_texts(tmp_path, by_words)
    for one in ("calibration", "scored"):
        assert texts_of(tmp_path / one) == texts_of(texts / one)


def test_the_demo_compares_methods_on_as_much_text_and_recovers_from_more(texts: Path) -> None:
    fields = json.loads(json.dumps(study(Path("dense"), texts)))
    document = StudyDocument.model_validate(fields)
    assert document.sparsities == (SPARSITY,)
    windows = {
        name: method["windows"] * len(method["languages"])
        for name, method in document.methods.items()
    }
    assert windows.pop(RECOVERED) == WINDOWS * len(SEEN)
    assert len(windows) == 3
    assert set(windows.values()) == {len(SEEN)}


@pytest.mark.usefixtures("as_it_was")
def test_the_demo_ends_as_a_command_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["--work", str(file)])
    said = f"error: --work: expected a folder to write into, found {file}: File exists\n"
    assert capsys.readouterr().err == said

    def stopped(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run", stopped)
    with pytest.raises(SystemExit, match=r"^130$"):
        main(["--work", str(tmp_path)])
    assert capsys.readouterr().err.startswith("interrupted: ")
