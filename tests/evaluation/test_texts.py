"""The same texts for every model and, where records carry ids, for every language."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mwanda import InputError, read_texts
from mwanda.evaluation.parallel import read_parallel
from mwanda.evaluation.texts import digest_of, parse_ids, texts_given
from mwanda.text.rows import Document
from mwanda.text.text_source import HELD_OF_STREAM


def corpus(folder: Path, records: dict[str, list[dict[str, Any]]]) -> Path:
    folder.mkdir(exist_ok=True)
    for tag, rows in records.items():
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{tag}.jsonl").write_text(text, encoding="utf-8")
    return folder


def parallel(tag: str, ids: Any) -> list[dict[str, Any]]:
    return [{"id": i, "text": f"{tag} sentence {i}"} for i in ids]


def numbers(texts: list[str]) -> list[int]:
    return [int(text.split()[-1]) for text in texts]


def test_a_subset_is_parallel_and_repeats(tmp_path: Path) -> None:
    folder = corpus(
        tmp_path / "c",
        {
            "de": parallel("de", range(40)),
            "sw": parallel("sw", reversed(range(10, 50))),
            "hi": parallel("hi", range(0, 60, 2)),
        },
    )
    subset = read_texts(folder, sentences=8, seed=3)
    drawn = {tag: numbers(texts) for tag, texts in subset.texts.items()}
    assert set(drawn["de"]) == set(drawn["sw"]) == set(drawn["hi"])
    assert len(drawn["de"]) == 8
    assert set(drawn["de"]) <= set(range(10, 40, 2))
    assert drawn["de"] == sorted(drawn["de"])  # in the source's own order
    assert drawn["sw"] == sorted(drawn["sw"], reverse=True)
    again = read_texts(folder, sentences=8, seed=3)
    assert again == subset
    other = read_texts(folder, sentences=8, seed=4)
    assert other.sha256 != subset.sha256


def test_too_few_common_ids_are_no_reason_to_take_less(tmp_path: Path) -> None:
    folder = corpus(
        tmp_path / "c", {"de": parallel("de", range(20)), "sw": parallel("sw", range(18, 40))}
    )
    subset = read_texts(folder, sentences=5)
    assert [len(texts) for texts in subset.texts.values()] == [5, 5]


def test_without_ids_positions_are_drawn(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    for tag in ("de", "sw"):
        lines = [f"{tag} sentence {i}" for i in range(20)]
        (folder / f"{tag}.txt").write_text("\n".join(lines), encoding="utf-8")
    subset = read_texts(folder, sentences=6, seed=1)
    assert numbers(subset.texts["de"]) == numbers(subset.texts["sw"])
    everything = read_texts(folder)
    assert everything.seed is None
    assert numbers(everything.texts["de"]) == list(range(20))
    assert len(read_texts(folder, sentences=100).texts["de"]) == 20


class Stream:
    """Parallel sentences that come over a network."""

    name, streamed = "stream", True

    def __init__(self, documents: int) -> None:
        self._numbers, self.read = range(documents), 0

    def languages(self) -> list[str]:
        return ["de", "sw"]

    def documents(self, language: str) -> Iterator[Document]:
        for number in self._numbers:
            self.read += 1
            yield Document(f"{language} sentence {number}", number)

    def fingerprint(self, language: str) -> str | None:
        return None


def test_a_long_stream_is_not_read_to_its_end() -> None:
    stream: Any = Stream(50_000)
    drawn = read_texts(stream, "de,sw", sentences=6)
    assert drawn.ids is not None
    assert max(map(int, drawn.ids)) < HELD_OF_STREAM
    assert stream.read == 2 * HELD_OF_STREAM
    pairs, _ = read_parallel(stream, "de-sw", sentences=6)
    assert len(pairs.scored) == 6
    assert stream.read == 4 * HELD_OF_STREAM
    wanted = "stream, de: expected at most 10000 texts of a stream, .* found more; draw some"
    for read in (lambda: read_texts(stream), lambda: read_parallel(stream, "de-sw")):
        with pytest.raises(InputError, match=wanted):
            read()
    short: Any = Stream(HELD_OF_STREAM)
    assert len(read_texts(short, "de").texts["de"]) == HELD_OF_STREAM


def test_languages_are_chosen_in_any_spelling(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "c", {t: parallel(t, range(3)) for t in ("de", "sw", "hi")})
    assert list(read_texts(folder, ["swa", "DE"]).texts) == ["sw", "de"]
    with pytest.raises(InputError, match="'fr'"):
        read_texts(folder, ["fr"])


def test_ids(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "c", {"de": parallel("de", range(10)), "sw": parallel("sw", [7, 8])})
    found = read_texts(folder, ids=(7, 8)).texts
    assert numbers(found["de"]) == numbers(found["sw"]) == [7, 8]
    assert numbers(read_texts(folder, ["de"], ids=(8, None)).texts["de"]) == [8, 9]
    with pytest.raises(InputError, match="sw: no text to score"):
        read_texts(folder, ids=(0, 3))
    mixed = corpus(tmp_path / "m", {"de": [{"text": "none"}], "sw": [{"id": "a", "text": "b"}]})
    with pytest.raises(InputError) as error:
        read_texts(mixed, ids=(0, 3))
    assert len(error.value.problems) == 2
    assert all("--ids needs an integer id" in line for line in error.value.problems)


@pytest.mark.parametrize(
    ("text", "found"), [("1000:", (1000, None)), (":5", (0, 5)), ("3:3", (3, 3)), (":", (0, None))]
)
def test_a_range_of_ids(text: str, found: tuple[int, int | None]) -> None:
    assert parse_ids(text) == found


@pytest.mark.parametrize("text", ["", "5", "5:4", "-1:", "a:b", "1:2:3", "1.5:2"])
def test_no_range_of_ids(text: str) -> None:
    with pytest.raises(InputError, match="--ids: expected LOWEST:HIGHEST"):
        parse_ids(text)


def test_the_hash_is_of_tags_and_texts_in_any_order_of_tags() -> None:
    one = digest_of({"de": ["a", "b"], "sw": ["c"]})
    assert one == digest_of({"sw": ["c"], "de": ["a", "b"]})
    others = [{"de": ["b", "a"], "sw": ["c"]}, {"de": ["a", "b"], "hi": ["c"]}, {"de": ["ab"]}]
    assert one not in {digest_of(texts) for texts in others}


def test_parallel_texts_carry_their_ids(tmp_path: Path) -> None:
    both = corpus(tmp_path / "a", {tag: parallel(tag, range(9)) for tag in ("de", "sw")})
    assert read_texts(both).ids == tuple(range(9))
    subset = read_texts(both, sentences=3)
    assert subset.ids == tuple(numbers(subset.texts["de"]))
    other = {"de": parallel("de", range(9)), "sw": parallel("sw", range(1, 10))}
    assert read_texts(corpus(tmp_path / "b", other)).ids is None
    turned = {"de": parallel("de", range(9)), "sw": parallel("sw", reversed(range(9)))}
    assert read_texts(corpus(tmp_path / "c", turned)).ids is None
    bare = {tag: [{"text": f"{tag} {i}"} for i in range(3)] for tag in ("de", "sw")}
    assert read_texts(corpus(tmp_path / "d", bare)).ids is None


def test_every_language_keeps_ids_of_its_own(tmp_path: Path) -> None:
    rows = {
        "de": parallel("de", range(9)),
        "sw": parallel("sw", range(1, 9)),
        "hi": [{"id": 4, "text": f"hi {n}"} for n in range(5)],
        "fr": [{"text": f"fr {n}"} for n in range(30)],
    }
    folder = corpus(tmp_path / "c", rows)
    own = read_texts(folder).own_ids
    assert own == {
        "de": tuple(range(9)), "sw": tuple(range(1, 9)), "hi": (4,) * 5, "fr": tuple(range(30))
    }  # fmt: skip
    drawn = read_texts(folder, "fr", sentences=6)  # places are those in the source
    assert drawn.own_ids["fr"] == tuple(numbers(drawn.texts["fr"])) != tuple(range(6))
    assert read_texts(folder, ["de", "sw"], ids=(7, None)).own_ids == {"de": (7, 8), "sw": (7, 8)}


def test_a_range_of_ids_from_python(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "c", {"de": parallel("de", range(10))})
    taken: list[Any] = ["7:8", (7, 8), [7, 8], (np.int64(7), np.int32(8))]
    for ids in taken:
        assert numbers(read_texts(folder, ids=ids).texts["de"]) == [7, 8]
    refused: list[Any] = [5, (0,), ("a", None), (0.5, 3), (3, 2), (-1, 4), "5", (True, 2),
                          (0, 1, 2), {0: 5}, (None, 3)]  # fmt: skip
    for ids in refused:
        with pytest.raises(InputError, match=r"^ids: expected"):
            read_texts(folder, ids=ids)
        with pytest.raises(InputError, match=r"^ids: expected"):
            read_parallel(folder, ["de-sw"], ids=ids)


def test_whole_numbers_of_any_kind_are_ids() -> None:
    rows = [{"text": f"Satz {n}", "id": np.int64(n)} for n in range(3)]
    found = read_texts({"de": rows}).own_ids["de"]
    assert found == (0, 1, 2)
    assert {type(one) for one in found} == {int}


def test_an_odd_id_is_none_and_said(caplog: pytest.LogCaptureFixture) -> None:
    odd = [{"text": "Satz", "id": True}, {"text": "Wort", "id": [7]}]
    assert read_texts({"de": odd}).ids is None
    assert "2 of 2 rows have an id that is no whole number or string" in caplog.text


def test_ids_are_of_texts_to_read_and_not_of_those_read_before() -> None:
    rows = {"de": [{"text": f"Satz {number}", "id": number} for number in range(6)]}
    read = read_texts(rows, ids="2:4")
    assert texts_given(rows, None, seed=0, ids="2:4") == read
    assert texts_given(read, None, seed=0, ids=None) is read
    with pytest.raises(InputError, match=r"ids: expected none .*read before, found '2:4'"):
        texts_given(read, None, seed=0, ids="2:4")
