from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mwanda.errors import InputError
from mwanda.text.sources import open_source
from mwanda.text.window_files import Windows, load, save
from mwanda.text.windows import draw
from tests.text.helpers import byte_tokenizer, text_folder

PAGES = {
    "sw": [f"Huu ni ukurasa wa {n}, na una maneno ya kutosha kwa jaribio." for n in range(9)],
    "de": ["Eine kurze Seite."],
}


@pytest.fixture
def windows(tmp_path: Path) -> Windows:
    source = open_source(text_folder(tmp_path / "text", PAGES))
    tokenizer = byte_tokenizer(bos=True)
    return draw(source, tokenizer, ["sw", "de"], windows=3, length=12, seed=4, allow_short=True)


def same(one: Windows, other: Windows) -> bool:
    equal = all(torch.equal(one.tokens[tag], other.tokens[tag]) for tag in one.tokens)
    rest = [(w.draws, w.source, w.seed, w.bos, w.length, w.languages) for w in (one, other)]
    return equal and rest[0] == rest[1]


def test_windows_survive_a_file(tmp_path: Path, windows: Windows) -> None:
    path = tmp_path / "windows.safetensors"
    save(windows, path)
    assert same(load(path), windows)
    assert same(load(path, ["sw", "de"], vocabulary=258), windows)
    assert load(path, ["de"]).languages == ["de"]
    assert set(load_file(path)) == {"de", "sw"}
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == [path.name]


def test_a_file_is_only_overwritten_when_asked(tmp_path: Path, windows: Windows) -> None:
    path = tmp_path / "windows.safetensors"
    path.write_text("mine")
    with pytest.raises(InputError, match="expected a new file, found a file that is there already"):
        save(windows, path)
    assert path.read_text() == "mine"
    save(windows, path, overwrite=True)
    assert same(load(path), windows)
    with pytest.raises(InputError, match="found a folder"):
        save(windows, tmp_path / "text", overwrite=True)
    with pytest.raises(InputError, match="expected a folder to write to, found no folder"):
        save(windows, tmp_path / "none" / "windows.safetensors")


def test_a_write_that_fails_leaves_nothing(
    tmp_path: Path, windows: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("mwanda.text.window_files.os.replace", full)
    with pytest.raises(OSError, match="disk full"):
        save(windows, tmp_path / "windows.safetensors")
    assert [entry for entry in tmp_path.iterdir() if entry.is_file()] == []


def test_another_tools_windows_load(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    tokens = {"swh_Latn": torch.arange(6).view(2, 3), "deu": torch.arange(4).view(1, 4)}
    save_file(tokens, path, metadata={"format": "pt"})
    windows = load(path, vocabulary=6)
    assert windows.languages == ["de", "sw"]
    assert torch.equal(windows.tokens["sw"], tokens["swh_Latn"])
    assert (windows.bos, windows.seed, windows.length) == ("as given", None, None)
    drawn = windows.draws["sw"]
    assert (drawn.windows, drawn.tokens, drawn.documents) == (2, 6, 0)
    assert (drawn.sentence_hashes, drawn.source_sha256) == ("", None)
    copy = tmp_path / "copy.safetensors"
    save(windows, copy)
    assert same(load(copy), windows)


ids = torch.arange(6).view(2, 3)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"de": ids.int()}, r"language 'de': expected int64 \[windows, length\], found dtype I32"),
        ({"de": ids.flatten()}, r"found shape \[6\]"),
        ({"de": ids[:0]}, r"found shape \[0, 3\]"),
        ({"de": ids[:, :0]}, r"found shape \[2, 0\]"),
        ({"de": ids - 1}, "expected token ids from 0 to 5, found -1"),
        ({"de": ids + 1}, "expected token ids from 0 to 5, found 6; draw windows with this model"),
        ({"de": ids, "train": ids}, "tensor 'train': language 'train': expected a language tag"),
        (
            {"de": ids, "deu_Latn": ids},
            "expected one tensor per language, found 'de' and 'deu_Latn'",
        ),
        ({"fr": ids}, "language 'de': expected one of those in .*, fr; draw windows for it"),
        ({}, "expected a tensor per language, found none"),
        ({"de": ids - 1, "sw": ids.float()}, "2 mistakes: .*'de'.*found -1.*'sw'.*found dtype F32"),
    ],
)
def test_bad_tensors_are_named(
    tmp_path: Path, tensors: dict[str, torch.Tensor], message: str
) -> None:
    path = tmp_path / "bad.safetensors"
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)
    with pytest.raises(InputError, match=message):
        load(path, ["de", "sw"] if "sw" in tensors else ["de"], vocabulary=6)


def test_without_a_vocabulary_only_negative_ids_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    save_file({"de": ids - 1, "fr": ids + 1_000_000}, path)
    assert load(path, ["fr"]).languages == ["fr"]
    with pytest.raises(InputError, match="expected token ids 0 or more, found -1"):
        load(path)


def test_what_is_no_safetensors_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a safetensors file, found no such file"):
        load(tmp_path / "none")
    (tmp_path / "text").write_text("hello, I am text and long enough for a header")
    (tmp_path / "empty").touch()
    for name in ("text", "empty"):
        with pytest.raises(InputError, match=f"{name}: expected a safetensors file"):
            load(tmp_path / name)


def test_no_language_is_refused(tmp_path: Path, windows: Windows) -> None:
    save(windows, tmp_path / "windows")
    with pytest.raises(InputError, match="languages: expected at least one, found none"):
        load(tmp_path / "windows", [])


def damaged(path: Path, windows: Windows, change: dict[str, Any]) -> None:
    """The windows with provenance that says something else."""
    from safetensors import safe_open

    save(windows, path)
    with safe_open(path, framework="pt") as file:
        provenance = json.loads(file.metadata()["mwanda"])
    draw_change = change.pop("draw", {})
    provenance["draws"][0].update(draw_change)
    provenance.update(change)
    save_file(windows.tokens, path, metadata={"mwanda": json.dumps(provenance)})


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"seed": "four"},
        {"bos": None},
        {"draws": 3},
        {"draws": ["de"]},
        {"draw": {"windows": "3"}},
        {"draw": {"tokens": True}},
        {"draw": {"unknown": 1}},
        {"draw": {"sentence_hashes": "AAAA"}},
    ],
)
def test_damaged_provenance_is_refused(
    tmp_path: Path, windows: Windows, change: dict[str, Any]
) -> None:
    damaged(tmp_path / "windows", windows, change)
    with pytest.raises(InputError, match="expected provenance of format 1 under 'mwanda'"):
        load(tmp_path / "windows")


@pytest.mark.parametrize("text", ["no JSON", "[]", "{}", "[" * 100_000])
def test_other_provenance_is_refused(tmp_path: Path, text: str) -> None:
    save_file({"de": ids}, tmp_path / "windows", metadata={"mwanda": text})
    with pytest.raises(InputError, match="draw the windows again"):
        load(tmp_path / "windows")


def test_tokens_that_were_changed_are_noticed(tmp_path: Path, windows: Windows) -> None:
    changed = {tag: tokens.clone() for tag, tokens in windows.tokens.items()}
    damaged(tmp_path / "windows", windows, {"draw": {"window_sha256": "0" * 64}})
    with pytest.raises(InputError, match="language 'sw': expected the tokens its provenance names"):
        load(tmp_path / "windows")
    assert torch.equal(load(tmp_path / "windows", ["de"]).tokens["de"], changed["de"])
