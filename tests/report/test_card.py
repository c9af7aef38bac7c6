"""The model card: honest, well-formed, and updated in its own place only."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import mwanda
from mwanda.card import BEGIN, END, update_card
from tests.pipeline.helpers import windows_file

Tiny = Callable[..., Path]


def card_of(folder: Path) -> tuple[dict[str, Any], str]:
    _, front, body = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), body


def prune(source: Path, out: Path) -> Path:
    fields = {"criterion": "wanda", "allocation": "uniform"}
    mwanda.prune(source, out=out, calibration=windows_file(out.parent), **fields)
    return out


def test_a_card_says_what_was_done(tiny: Tiny, tmp_path: Path) -> None:
    front, body = card_of(prune(tiny("llama"), tmp_path / "out"))
    assert front["language"] == ["de", "sw"]
    assert front["library_name"] == "transformers"
    assert "pruned" in front["tags"]
    assert front["base_model"] == tiny("llama").name  # no folder of this machine
    for text in (
        "50.0% of the weights of 21 linears",
        "wanda",
        "uniform",
        "de (German)",
        "160 tokens",
    ):
        assert text in body
    assert BEGIN in body
    assert END in body


def test_no_folder_of_this_machine_is_published(tiny: Tiny, tmp_path: Path) -> None:
    assert str(tmp_path) not in (prune(tiny("llama"), tmp_path / "out") / "README.md").read_text()


def test_the_licence_is_carried_over_and_nothing_else(tiny: Tiny, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(tiny("llama"), source)
    (source / "README.md").write_text(
        "---\nlicense: gemma\nlicense_link: https://x.org/l\nmetrics: [best]\n---\n# Hi",
        encoding="utf-8",
    )
    front, body = card_of(prune(source, tmp_path / "out"))
    assert (front["license"], front["license_link"]) == ("gemma", "https://x.org/l")
    assert "metrics" not in front
    assert "# Hi" not in body


@pytest.mark.parametrize("readme", ["", "# no front matter", "---\n: [\n---\n", "---\nunclosed"])
def test_a_strange_card_of_the_source_does_no_harm(tiny: Tiny, tmp_path: Path, readme: str) -> None:
    source = tmp_path / "source"
    shutil.copytree(tiny("llama"), source)
    (source / "README.md").write_text(readme, encoding="utf-8")
    front, _ = card_of(prune(source, tmp_path / "out"))
    assert "license" not in front


def test_results_go_into_their_place_and_replace_older_ones(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"# Mine\nbefore\n{BEGIN}\n{END}\nafter\n", encoding="utf-8")
    update_card(tmp_path, "| old |")
    update_card(tmp_path, "| new |")
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# Mine\nbefore\n")
    assert text.endswith("\nafter\n")
    assert "| new |" in text
    assert "old" not in text
    assert (text.count(BEGIN), text.count(END)) == (1, 1)
    assert [p.name for p in tmp_path.iterdir()] == ["README.md"]


@pytest.mark.parametrize("text", ["# Mine, without a place\n", None])
def test_a_card_without_a_place_gets_one(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "README.md").write_text(text, encoding="utf-8")
    update_card(tmp_path, "| table |")
    update_card(tmp_path, "| newer |")
    found = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert found.startswith(text or BEGIN)
    assert found.count("| newer |") == 1
    assert "| table |" not in found


def test_nothing_after_a_lost_end_mark_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"a\n{BEGIN}\nb\n", encoding="utf-8")
    update_card(tmp_path, "| table |")
    assert "b" in (tmp_path / "README.md").read_text(encoding="utf-8").splitlines()
