from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mwanda.errors import InputError
from mwanda.text.cleaning import Cleaner
from mwanda.text.rows import Document
from mwanda.text.shared_sentences import sentence_hashes, unpack_hashes
from mwanda.text.sources import FolderSource, open_source
from mwanda.text.start import start_of
from mwanda.text.text_source import check_languages
from mwanda.text.window_files import Windows, window_sha256
from mwanda.text.windows import _shuffled, draw, fingerprints
from tests.text.helpers import BOS, byte_tokenizer, text_folder

WITH_BOS, WITHOUT = byte_tokenizer(bos=True), byte_tokenizer(bos=False)
PAGES = {
    "de": [f"Dies ist die Seite mit der Nummer {n}, und sie ist lang genug." for n in range(40)],
    "sw": [f"Huu ni ukurasa wa {n}, na una maneno ya kutosha kwa jaribio." for n in range(30)],
    "hi": [f"यह पृष्ठ संख्या {n} है और यह काफी लंबा है।" for n in range(20)],
}


class Listed:
    """A source in memory, as a folder's or as a stream without end."""

    def __init__(self, pages: dict[str, list[str]], *, streamed: bool = False) -> None:
        self.name, self.pages, self.streamed, self.read = "listed", pages, streamed, 0

    def languages(self) -> list[str]:
        return sorted(self.pages)

    def documents(self, language: str) -> Iterator[Document]:
        check_languages(self, [language])
        for text in self.pages[language]:
            self.read += 1
            yield Document(text)
        number = 0
        while self.streamed:
            self.read, number = self.read + 1, number + 1
            yield Document(f"page {number}")

    def fingerprint(self, language: str) -> str | None:
        return None


@pytest.fixture
def source(tmp_path: Path) -> FolderSource:
    opened = open_source(text_folder(tmp_path, PAGES))
    assert isinstance(opened, FolderSource)
    return opened


def test_the_tokenizer_says_whether_a_text_begins_with_bos() -> None:
    assert start_of(WITH_BOS) == (BOS,)
    assert start_of(WITHOUT) == ()
    without_id = byte_tokenizer(bos=False)
    without_id.bos_token = None
    assert start_of(without_id) == ()


@pytest.mark.parametrize("tokenizer", [WITH_BOS, WITHOUT], ids=["bos", "none"])
def test_windows_are_full_and_described(source: FolderSource, tokenizer: Any) -> None:
    windows = draw(source, tokenizer, ["sw", "de"], windows=5, length=32, seed=3)
    assert windows.languages == ["sw", "de"]
    assert (sum(map(len, windows.tokens.values())), windows.total_tokens) == (10, 320)
    assert (windows.source, windows.seed, windows.length) == (source.name, 3, 32)
    bos = tokenizer is WITH_BOS
    assert windows.bos == ("first token of every window: id 0" if bos else "none")
    for language in ("sw", "de"):
        tokens, drawn = windows.tokens[language], windows.draws[language]
        assert tokens.shape == (5, 32)
        assert tokens.dtype == torch.int64
        assert (tokens == BOS).sum() == (5 if bos else 0)
        assert bos == bool((tokens[:, 0] == BOS).all())
        assert (drawn.language, drawn.windows, drawn.tokens) == (language, 5, 160)
        assert drawn.window_sha256 == window_sha256(tokens)
        assert drawn.source_sha256 == source.fingerprint(language)
        # 155 or 160 bytes of pages of about 60: three of them, whole and by sentence.
        assert drawn.documents == 3
        text = tokenizer.decode(tokens.flatten(), skip_special_tokens=True)
        used = [page for page in PAGES[language] if page[:20] in text and page in text]
        seen = unpack_hashes(drawn.sentence_hashes)
        assert len(seen) == 6
        assert seen >= {sentence for page in used for sentence in sentence_hashes(page)}


def test_a_draw_is_the_same_on_every_machine(source: FolderSource) -> None:
    tokens = draw(source, WITHOUT, ["hi"], windows=4, length=16, seed=0).tokens["hi"]
    raw = b"".join(int(token).to_bytes(8, "little") for token in tokens.flatten())
    assert window_sha256(tokens) == hashlib.sha256(raw).hexdigest()
    assert (
        window_sha256(tokens) == "1c8798861e798122d8ec8a1d361dfdd19812f98b706ea103e5558c4b60557ae8"
    )


def test_adding_a_language_changes_no_other(source: FolderSource) -> None:
    alone = draw(source, WITH_BOS, ["de"], windows=4, length=20, seed=1)
    both = draw(source, WITH_BOS, ["hi", "de", "sw"], windows=4, length=20, seed=1)
    assert alone.draws["de"] == both.draws["de"]
    assert torch.equal(alone.tokens["de"], both.tokens["de"])
    other = draw(source, WITH_BOS, ["de"], windows=4, length=20, seed=2)
    assert not torch.equal(alone.tokens["de"], other.tokens["de"])


@given(
    pages=st.lists(st.text(st.characters(codec="utf-8"), max_size=30), min_size=1, max_size=12),
    length=st.integers(2, 12),
    windows=st.integers(1, 6),
    bos=st.booleans(),
)
def test_windows_are_the_stream_of_tokens_cut_up(
    pages: list[str], length: int, windows: int, bos: bool
) -> None:
    tokenizer = WITH_BOS if bos else WITHOUT
    listed = Listed({"de": [*pages, "Ende."]})
    drawn = draw(
        listed, tokenizer, ["de"], windows=windows, length=length, seed=7, allow_short=True
    )
    stream = [
        token
        for document in _shuffled(listed, Cleaner("de"), "de", 7)
        for token in tokenizer(document.text.strip() + "\n", add_special_tokens=False)["input_ids"]
    ]
    tokens = drawn.tokens["de"]
    text = tokens[:, 1:] if bos else tokens
    assert not bos or bool((tokens[:, 0] == BOS).all())
    assert text.flatten().tolist() == stream[: text.numel()]
    room = length - bos
    if len(stream) >= room:
        assert text.shape == (min(windows, len(stream) // room), room)
    else:
        assert text.shape == (1, len(stream))


def test_reading_stops_when_there_is_enough() -> None:
    source = Listed({"de": []}, streamed=True)
    drawn = draw(source, WITHOUT, ["de"], windows=3, length=8, seed=0)
    assert drawn.tokens["de"].shape == (3, 8)
    assert 10_000 < source.read < 10_010
    # The buffer is shuffled: the first pages are not page 1, page 2 and so on.
    assert "page 1\n" not in WITHOUT.decode(drawn.tokens["de"].flatten())
    again = draw(Listed({"de": []}, streamed=True), WITHOUT, ["de"], windows=3, length=8, seed=0)
    assert again == replace(drawn, tokens=again.tokens)
    assert again.draws["de"].window_sha256 == drawn.draws["de"].window_sha256


def test_every_language_with_too_little_text_is_reported(source: FolderSource) -> None:
    with pytest.raises(InputError) as caught:
        draw(source, WITH_BOS, ["de", "hi", "sw"], windows=33, length=65, seed=0)
    assert [problem[:13] for problem in caught.value.problems] == ["language 'hi'", "language 'sw'"]
    expected = "language 'sw': expected 2112 tokens of text for 33 windows of 65, found 1790;"
    assert expected in str(caught.value)
    assert "or pass --allow-short" in str(caught.value)


@pytest.mark.parametrize("tokenizer", [WITH_BOS, WITHOUT], ids=["bos", "none"])
def test_short_draws_take_what_there_is(tokenizer: Any) -> None:
    bos = tokenizer is WITH_BOS
    source = Listed({"de": ["abcdefghi", "ABCDEFGHI9"], "fr": ["x"], "sw": ["abcdefghi"]})
    windows = draw(
        source, tokenizer, ["de", "fr", "sw"], windows=4, length=10, seed=0, allow_short=True
    )
    assert windows.tokens["de"].shape == (2, 10)
    assert windows.tokens["fr"].shape == (1, 2 + bos)
    assert windows.tokens["sw"].shape == (1, 10)
    assert windows.draws["fr"].tokens == 2 + bos
    assert windows.length == 10


def test_what_is_left_over_is_not_counted_as_used() -> None:
    source = Listed({"de": ["abcdefghi", "abcdefgh", "abcdefg"]})
    drawn = draw(source, WITHOUT, ["de"], windows=9, length=20, seed=0, allow_short=True)
    assert drawn.tokens["de"].shape == (1, 20)
    assert drawn.draws["de"].documents == 3
    shorter = draw(source, WITHOUT, ["de"], windows=1, length=7, seed=0, allow_short=True)
    assert shorter.draws["de"].documents == 1


def test_no_text_at_all_is_no_short_draw() -> None:
    english = "You can change the settings of your computer from the menu that is shown here."
    with pytest.raises(
        InputError,
        match=r"'de': expected 8 tokens.*found 0; add text; dropped .* 1 lines as English",
    ):
        draw(
            Listed({"de": [english]}),
            WITHOUT,
            ["de"],
            windows=1,
            length=8,
            seed=0,
            allow_short=True,
        )


def test_text_is_cleaned_first() -> None:
    english = "Mouse, touchpad & touchscreen"
    pages = ["Eine Seite", "Eine Seite", f"Zwei\n{english}", english, "Drei"]
    source = Listed({"de": pages, "en": [f"{english}\nMore"]})
    drawn = draw(source, WITHOUT, ["de"], windows=1, length=20, seed=0)
    described = drawn.draws["de"]
    assert (described.duplicates_dropped, described.english_lines_dropped) == (1, 2)
    assert described.documents_emptied == 1
    assert "Mouse" not in WITHOUT.decode(drawn.tokens["de"].flatten())
    kept = draw(source, WITHOUT, ["en"], windows=1, length=20, seed=0)
    assert kept.draws["en"].english_lines_dropped == 0


def test_a_pair_of_languages_is_not_the_english_text(tmp_path: Path) -> None:
    folder = text_folder(tmp_path, {"de": PAGES["de"], "en-de": PAGES["de"][:30]})
    source = open_source(folder)
    assert fingerprints(source, ["de"], keep_english=False) == {"de": source.fingerprint("de")}
    for languages in (["de"], ["de", "en-DE"]):
        drawn = draw(source, WITHOUT, languages, windows=2, length=16, seed=0).draws["de"]
        assert drawn.english_lines_dropped == 0
    (folder / "en-GB.txt").write_text(PAGES["de"][0])  # a region is English as it is written
    drawn = draw(open_source(folder), WITHOUT, ["de"], windows=2, length=16, seed=0).draws["de"]
    assert drawn.english_lines_dropped == 1


def test_bad_files_of_several_languages_are_reported_together(tmp_path: Path) -> None:
    (tmp_path / "de.txt").write_bytes(b"M\xfcll")
    (tmp_path / "sw.txt").write_bytes(b"\n")
    with pytest.raises(InputError) as caught:
        draw(open_source(tmp_path), WITHOUT, ["de", "sw"], windows=1, length=4, seed=0)
    assert len(caught.value.problems) == 2
    assert "de.txt:1: expected UTF-8" in caught.value.problems[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"windows": 0}, "windows: expected at least 1, found 0"),
        ({"length": 1}, "length: expected at least 2, found 1"),
        ({"languages": []}, "languages: expected at least one, each once, found none"),
        ({"languages": ["de", "de"]}, "each once, found de, de"),
        ({"languages": ["de", "yo", "fr"]}, "2 mistakes: language 'yo' of"),
    ],
)
def test_bad_sizes_and_languages_are_refused(
    source: FolderSource, change: dict[str, Any], message: str
) -> None:
    arguments = {"languages": ["de"], "windows": 1, "length": 4, "seed": 0} | change
    with pytest.raises(InputError, match=message):
        draw(source, WITHOUT, **arguments)


def test_long_text_gives_no_warning_about_the_models_length() -> None:
    text = "a " * 200
    assert len(json.dumps(text)) > WITHOUT.model_max_length
    drawn = draw(Listed({"de": [text]}), WITHOUT, ["de"], windows=2, length=100, seed=0)
    assert isinstance(drawn, Windows)
    assert len(list(islice(drawn.tokens["de"], 3))) == 2


@pytest.mark.parametrize("english", ["", "\n", b"M\xfcll, but long enough to count\n", "both"])
def test_english_that_cannot_be_read_is_left_out_of_cleaning(
    tmp_path: Path, english: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    folder = text_folder(tmp_path, {"de": PAGES["de"]})
    (folder / "en.txt").write_bytes(english if isinstance(english, bytes) else english.encode())
    if english == "both":
        (folder / "en_XX.txt").write_text("A line")
    source = open_source(folder)
    assert draw(source, WITHOUT, ["de"], windows=2, length=16, seed=0).languages == ["de"]
    (line,) = [line for line in caplog.messages if "English text, which cannot be read" in line]
    assert "en.txt" in line
    with pytest.raises(InputError, match="en"):
        draw(source, WITHOUT, ["de", "en"], windows=2, length=16, seed=0)


def test_the_hash_of_the_text_is_of_the_english_too_where_that_cleans(tmp_path: Path) -> None:
    folder = text_folder(tmp_path, {"de": PAGES["de"]})
    source = open_source(folder)
    tags = ["de"]
    plain = {"de": source.fingerprint("de")}
    assert fingerprints(source, tags, keep_english=False) == plain
    seen = []
    for line in ("A line of English", "Another line of English"):
        (folder / "en.txt").write_text(line)
        both = open_source(folder)
        found = fingerprints(both, ["de", "en"], keep_english=False)
        assert found["en"] == both.fingerprint("en")
        assert fingerprints(both, tags, keep_english=True) == plain
        drawn = draw(both, WITHOUT, tags, windows=2, length=16, seed=0)
        assert drawn.draws["de"].source_sha256 == found["de"]
        seen.append(found["de"])
    assert len({*seen, plain["de"]}) == 3
