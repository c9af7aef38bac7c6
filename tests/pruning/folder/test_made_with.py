"""The command in the card makes the same folder again."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

import mwanda
from mwanda.cli import main
from mwanda.pruning.folder.card import CARD
from mwanda.pruning.folder.manifest import read_manifest
from tests.pruned.trim.test_trim import with_weights
from tests.pruned.trim.vocabularies import learn, save
from tests.pruning.pipeline.helpers import shard_bytes, windows_file
from tests.support.text import write_corpus


def commands_in(folder: Path) -> list[list[str]]:
    """The commands of a card."""
    body = (folder / CARD).read_text(encoding="utf-8").partition("\nMade with ")[2]
    return [shlex.split(line) for line in body.split("```")[1].strip().splitlines()]


def command_in(folder: Path) -> list[str]:
    """The one command of a card."""
    (command,) = commands_in(folder)
    return command


def run(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 0


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--windows", "3"],
        ["--window-length", "100"],
        ["--allow-short"],
        ["--windows", "40", "--window-length", "100", "--allow-short"],
        ["--windows", "2", "--window-length", "100", "--allow-short"],
    ],
    ids=" ".join,
)
def test_again_where_a_language_has_less_text(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    source = tiny("llama")
    (tmp_path / source.name).symlink_to(source)
    write_corpus(tmp_path / "corpus", ["de"], lines=400)
    write_corpus(
        tmp_path / "corpus",
        ["sw"],
        lines=1 if words[:1] == ["--allow-short"] or words[1:2] == ["2"] else 30,
    )
    text = ["--calibration", str(tmp_path / "corpus"), "--allocation", "uniform"]
    run(["prune", str(source), "--out", "first", *text, *words])
    again = command_in(tmp_path / "first")
    run([word if word != "FOLDER" else "again" for word in again[1:]])
    first, second = (read_manifest(tmp_path / name).calibration for name in ("first", "again"))
    assert first is not None
    assert second is not None
    assert first.languages == second.languages
    shapes = {(draw.windows, draw.tokens) for draw in first.languages.values()}
    assert len(shapes) == (1 if words == ["--windows", "3"] else 2)
    assert shard_bytes(tmp_path / "first") == shard_bytes(tmp_path / "again")


@pytest.mark.parametrize(
    "words",
    [
        ["--sparsity", "0.4", "--language-weights", "de=2", "--mode", "sequential"],
        ["--pattern", "2:4", "--criterion", "ria", "--criterion-option", "power=0.7"],
        ["--allocation", "owl", "--allocation-option", "width=0.05", "--seed", "3"],
        ["--reconstruction", "admm", "--languages", "sw", "--dtype", "bfloat16"],
        ["--exclude", r"mlp\.up", "--skip-blocks", "0,2", "--allocation-level", "linear"],
        ["--criterion", "magnitude", "--allocation", "uniform"],
    ],
    ids=lambda words: words[0] + words[1],
)
def test_again(
    tiny: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    source = tiny("llama")
    (tmp_path / source.name).symlink_to(source)
    write_corpus(tmp_path / "corpus", ["de", "sw"], lines=60)
    text = [] if "magnitude" in words else ["--calibration", str(tmp_path / "corpus"),
                                            "--windows", "2", "--window-length", "32"]  # fmt: skip
    run(["prune", str(source), "--out", "first", *text, *words])
    again = command_in(tmp_path / "first")
    assert not any(str(tmp_path.parent) in word for word in again)
    assert again[:2] == ["mwanda", "prune"]
    run([word if word != "FOLDER" else "again" for word in again[1:]])
    assert shard_bytes(tmp_path / "again") == shard_bytes(tmp_path / "first")
    recipes = [mwanda.verify(tmp_path / name).manifest.recipe for name in ("first", "again")]
    assert recipes[0] == recipes[1]


def test_masks_again(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = tiny("llama")
    (tmp_path / source.name).symlink_to(source)
    mwanda.prune(source, out="p", sparsity=0.3, criterion="magnitude", allocation="uniform")
    mwanda.extract_masks("p", "m.safetensors")
    mwanda.apply_masks("m.safetensors", source, "first")
    again = command_in(tmp_path / "first")
    assert again[1:3] == ["mask", "apply"]
    run([word if word != "FOLDER" else "again" for word in again[1:]])
    assert shard_bytes(tmp_path / "again") == shard_bytes(tmp_path / "p")


@pytest.mark.parametrize("text", ["windows.safetensors", "drawn.safetensors", "corpus"])
def test_a_recovery_again(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Its seed is not that of a file of windows, whether another tool wrote it or we did."""
    monkeypatch.chdir(tmp_path)
    source = tiny("llama")
    (tmp_path / source.name).symlink_to(source)
    windows_file(tmp_path, counts={"de": (24, 20), "sw": (16, 16)})
    write_corpus(tmp_path / "corpus", ["de", "sw"], lines=60)
    draw = ["--windows", "8", "--window-length", "32"]
    run(["windows", source.name, "--calibration", "corpus", "--out", "drawn.safetensors", *draw])
    run(["prune", source.name, "--out", "p", "--criterion", "magnitude"])
    how = [
        "--calibration",
        text,
        "--steps",
        "3",
        "--seed",
        "5",
        *(draw if text == "corpus" else []),
    ]
    run(["recover", "p", "--dense", source.name, "--out", "first", *how])
    again = commands_in(tmp_path / "first")[-1]
    places = {"FOLDER": "p", "RECOVERED": "again", "WINDOWS": text}
    run([places.get(word, word) for word in again[1:]])
    assert shard_bytes(tmp_path / "again") == shard_bytes(tmp_path / "first")


@pytest.mark.parametrize(
    ("drawn", "given"),
    [
        (["--seed", "3", "--keep-english"], []),
        (["--seed", "3"], ["--background", "udhr", "--background-windows", "2"]),
        (["--seed", "3", "--background", "udhr", "--background-windows", "2"], []),
        (["--background", "udhr", "--background-windows", "2"], ["--background", "udhr"]),
        (["--background", "udhr", "--background-windows", "2"], ["--background", "none"]),
        ([], ["--background", "udhr", "--background-windows", "2", "--seed", "5"]),
        (None, ["--background", "udhr", "--background-windows", "2", "--seed", "5"]),
    ],
)
def test_windows_of_a_file_again(
    tiny: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    drawn: list[str] | None,
    given: list[str],
) -> None:
    """Its seed may not be that of the background, and another tool's file has none."""
    monkeypatch.chdir(tmp_path)
    source = tiny("llama").name
    (tmp_path / source).symlink_to(tiny("llama"))
    write_corpus(tmp_path / "corpus", ["de", "sw"], lines=60)
    if drawn is None:
        windows_file(tmp_path, counts={"de": (4, 20), "sw": (4, 16)})
    else:
        draw = ["--windows", "2", "--window-length", "32", *drawn]
        file = ["--calibration", "corpus", "--out", "windows.safetensors"]
        run(["windows", source, *file, *draw])
    how = ["--criterion", "wanda", "--allocation", "uniform", *given]
    run(["prune", source, "--out", "first", "--calibration", "windows.safetensors", *how])
    places = {"FOLDER": "again", "WINDOWS": "windows.safetensors"}
    run([places.get(word, word) for word in command_in(tmp_path / "first")[1:]])
    first, second = (read_manifest(tmp_path / name).calibration for name in ("first", "again"))
    assert first is not None
    assert second is not None
    assert first.languages == second.languages
    assert shard_bytes(tmp_path / "again") == shard_bytes(tmp_path / "first")


@pytest.mark.parametrize("given", [[], ["--background", "none"]], ids=["all", "without"])
def test_saved_statistics_again(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str]
) -> None:
    """Where the background that is in them was left out, it is left out again."""
    monkeypatch.chdir(tmp_path)
    source = tiny("llama").name
    (tmp_path / source).symlink_to(tiny("llama"))
    write_corpus(tmp_path / "corpus", ["de", "sw"], lines=60)
    text = ["--calibration", "corpus", "--windows", "2", "--window-length", "32"]
    background = ["--background", "udhr", "--background-windows", "2"]
    run(["stats", source, "--out", "saved.safetensors", *text, *background])
    how = ["--criterion", "wanda", "--allocation", "uniform", *given]
    run(["prune", source, "--out", "first", "--statistics", "saved.safetensors", *how])
    run([word if word != "FOLDER" else "again" for word in command_in(tmp_path / "first")[1:]])
    first, second = (read_manifest(tmp_path / name).calibration for name in ("first", "again"))
    assert first is not None
    assert second is not None
    assert first.languages == second.languages
    assert shard_bytes(tmp_path / "again") == shard_bytes(tmp_path / "first")


def test_a_lossy_trim_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with_weights(save(learn("unigram"), tmp_path / "model"), tied=True)
    how = ["--languages", "de", "--by", "text", "--text", "bundled:udhr/first", "--budget", "128"]
    with pytest.raises(SystemExit) as refused:
        main(["trim", "model", "--out", "first", *how])
    assert refused.value.code == 1
    run(["trim", "model", "--out", "first", *how, "--allow-loss"])
    run(command_in(tmp_path / "first")[1:])
    assert shard_bytes(tmp_path / "TRIMMED") == shard_bytes(tmp_path / "first")


def test_steps_are_told_in_their_order(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each goes on from the last one's output, with all that chose the rows of a trim."""
    monkeypatch.chdir(tmp_path)
    source = tiny("llama").name
    (tmp_path / source).symlink_to(tiny("llama"))
    write_corpus(tmp_path / "corpus", ["de", "sw"], lines=60)
    (tmp_path / "lines.txt").write_text("ключ\n", encoding="utf-8")
    text = ["--calibration", "corpus", "--windows", "8", "--window-length", "32", "--steps", "3"]
    rows = ["--languages", "de,sw", "--multiple", "8", "--keep-texts", "lines.txt"]
    run(["trim", source, "--out", "td", *rows])
    run(["prune", source, "--out", "p", "--criterion", "magnitude"])
    run(["recover", "p", "--dense", source, "--out", "r", *text])
    run(["trim", "r", "--out", "t", *rows])
    run(["recover", "t", "--dense", "td", "--out", "rr", *text])
    run(["trim", "rr", "--out", "tt", "--languages", "de"])
    commands = commands_in(tmp_path / "tt")
    places = [word for words in commands for word in words if word.isupper()]
    assert places == [
        "FOLDER", "FOLDER", "RECOVERED", "RECOVERED", "TRIMMED", "LINES", "TRIMMED", "RECOVERED-2",
        "RECOVERED-2", "TRIMMED-2",
    ]  # fmt: skip
    for words in commands:
        run([word if word != "LINES" else "lines.txt" for word in words[1:]])
    assert shard_bytes(tmp_path / "TRIMMED-2") == shard_bytes(tmp_path / "tt")
