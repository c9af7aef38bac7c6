"""What the benchmarks' figures rest on: comparing masks, limiting memory, writing the page."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file

ROOT = Path(__file__).parent.parent


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import harness

    return harness


@pytest.fixture
def processes(harness: ModuleType) -> ModuleType:
    import processes

    return processes


def folder(path: Path, weight: torch.Tensor, *linears: str) -> Path:
    path.mkdir()
    (path / "config.json").write_text("{}")
    tensors = {f"a.0.{name}.weight": weight.clone() for name in ("q_proj", *linears)}
    save_file(tensors | {"a.0.norm.weight": torch.zeros(2)}, path / "m.safetensors")
    return path


def test_masks_are_compared_where_either_is_zero(harness: ModuleType, tmp_path: Path) -> None:
    first = folder(tmp_path / "a", torch.tensor([[0.0, 1.0, 0.0, 2.0]]))
    second = folder(tmp_path / "b", torch.tensor([[0.0, 3.0, 1.0, 0.0]]))
    found = harness.mask_difference(first, second)
    assert (found["differing"], found["weights"], found["share"]) == (2, 4, 0.5)
    assert found["sparsity"] == [0.5, 0.5]
    assert harness.mask_difference(first, first)["differing"] == 0


def test_folders_of_other_linears_are_not_compared(harness: ModuleType, tmp_path: Path) -> None:
    first = folder(tmp_path / "a", torch.zeros(1, 4))
    other = folder(tmp_path / "b", torch.zeros(1, 4), "k_proj")
    with pytest.raises(ValueError, match="same linears"):
        harness.mask_difference(first, other)


def test_a_child_is_watched_and_its_last_json_read(processes: ModuleType) -> None:
    code = "x = bytearray(80_000_000); import time; time.sleep(0.3); print('log\\n{\"a\": 1}')"
    found = processes.run([sys.executable, "-c", code])
    assert found.output == {"a": 1}
    assert found.anonymous > 80_000_000
    assert found.resident > 80_000_000
    assert found.seconds > 0.3


def test_a_child_past_its_data_limit_fails(processes: ModuleType) -> None:
    line = [sys.executable, "-c", "bytearray(300_000_000)"]
    processes.run(line)
    with pytest.raises(RuntimeError, match="MemoryError"):
        processes.run(line, data_limit=200_000_000)


def test_a_bar_counts_by_its_median(harness: ModuleType) -> None:
    ratios = harness.pairwise([1.0, 6.0, 9.0], [2.0, 2.0, 3.0])
    assert ratios["values"] == [0.5, 3.0, 3.0]
    assert not harness.bar("x", ratios, most=1.0).met
    assert harness.bar("x", ratios, least=3.0).met
    assert harness.bar("x", 0, most=0).met


def test_the_recorded_command_names_no_place(harness: ModuleType) -> None:
    line = ["benchmarks/speed.py", "--data", "/somewhere/text", "--rounds", "5"]
    assert harness._command(line) == "python benchmarks/speed.py --data DATA --rounds 5"
    line = ["b.py", "--made", "wanda, all=/somewhere/a", "m-wanda=/somewhere/b", "x=y"]
    told = "python b.py --made 'wanda, all=FOLDER' m-wanda=FOLDER x=y"
    assert harness._command(line) == told


def test_recorded_data_name_no_place(harness: ModuleType) -> None:
    line = ["benchmarks/recovery.py", "--work", "/somewhere", "--dense", "/somewhere/made"]
    text = '{"masks": "/somewhere/masks", "base": "/somewhere/made", "other": "/else"}'
    told = '{"masks": "WORK/masks", "base": "DENSE", "other": "/else"}'
    assert harness.placeless(text, line) == told


def write_page(page: Path, results: Path) -> str:
    run_script("performance_table", "--page", page, "--results", results)
    return page.read_text(encoding="utf-8")


def run_script(name: str, *words: object) -> None:
    """In this process, where torch is imported already."""
    script = ROOT / "benchmarks" / f"{name}.py"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(script.parent)
        patch.setattr(sys, "argv", [str(script), *map(str, words)])
        runpy.run_path(str(script), run_name="__main__")


def test_the_performance_page_says_what_the_results_say(tmp_path: Path) -> None:
    page = ROOT / "docs" / "performance.md"
    copy = Path(shutil.copy(page, tmp_path / "page.md"))
    assert write_page(copy, ROOT / "benchmarks" / "results") == page.read_text(encoding="utf-8")


def test_the_tables_of_the_page_are_those_of_the_results(tmp_path: Path) -> None:
    page = ROOT / "docs" / "results.md"
    text = page.read_text(encoding="utf-8")
    assert "<!-- table: " in text
    copy = Path(shutil.copy(page, tmp_path))
    assert write_page(copy, ROOT / "benchmarks" / "results") == text


def test_a_missed_bar_is_shown_as_missed(harness: ModuleType, tmp_path: Path) -> None:
    bars = [harness.bar("too slow", 2.0, most=1.0), harness.bar("fine", 0.5, most=1.0)]
    tables = [harness.Table(["tool", "s"], [["ours", "2.0"]])]
    harness.save(tmp_path / "thing.json", {}, tables=tables, bars=bars)
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- results: thing -->\nold\n<!-- end -->\nb\n")
    text = write_page(page, tmp_path)
    assert "| too slow | at most 1 | 2 |  | **missed** |" in text
    assert "| fine | at most 1 | 0.5 |  | met |" in text
    assert "| ours | 2.0 |" in text
    assert "old" not in text
    assert text.startswith("a\n")
    assert text.endswith("\nb\n")
    assert json.loads((tmp_path / "thing.json").read_text())["machine"]["cores"]


def test_the_translation_page_says_what_the_results_say(tmp_path: Path) -> None:
    page = ROOT / "docs" / "translation.md"
    copy = Path(shutil.copy(page, tmp_path / "page.md"))
    assert write_page(copy, ROOT / "benchmarks" / "results") == page.read_text(encoding="utf-8")


def test_translations_that_the_choice_of_sentences_explains_are_marked(harness: ModuleType) -> None:
    import study_tables

    references = [f"the small cat number {n} sat on a large old mat" for n in range(12)]
    same = [text.replace("large", "big") for text in references]
    worse = ["nothing of it is right | here" for _ in references]
    checked = {"texts": 12, "empty": 0, "repetitive": 0.0, "other_language": None}

    def row(outputs: list[str]) -> dict[str, object]:
        pairs = zip(references, outputs, strict=True)
        return {
            "bleu": 50.0, "chrf++": 60.0, "outputs": checked, "references": checked,
            "sentences": [{"reference": a, "output": b} for a, b in pairs],
        }  # fmt: skip

    found = {"dense": {"de-en": row(same)}, "as dense": {"de-en": row(same)},
             "worse": {"de-en": row(worse)}}  # fmt: skip
    scores, first = study_tables.translation_tables(found)
    assert [line[2:4] for line in scores.rows] == [
        ["50.0", "60.0"], ["50.0°", "60.0°"], ["50.0", "60.0"],
    ]  # fmt: skip
    assert first.rows[-1] == ["de-en", "worse", "nothing of it is right / here"]


def test_tasks_are_marked_where_the_difference_is_sure(harness: ModuleType) -> None:
    import study_tables

    def row(correct: list[int]) -> dict[str, object]:
        mean = sum(correct) / len(correct)
        return {"accuracy": mean, "stderr": (mean * (1 - mean) / 19) ** 0.5, "items": 20,
                "ids": list(range(20)), "correct": correct}  # fmt: skip

    good, near, bad = row([1] * 15 + [0] * 5), row([1] * 14 + [0] * 6), row([0] * 15 + [1] * 5)
    found = {
        "dense": {"sw": good, "et": good},
        "near": {"sw": near, "et": near},
        "bad": {"sw": row([0] * 20), "et": bad},
    }
    scores = study_tables.task_table("xcopa", found)
    assert [line[:3] for line in scores.rows] == [
        ["Estonian (et)", "20", "75.0 ± 9.9"], ["Swahili (sw)", "20", "75.0 ± 9.9"],
        ["mean", "40", "75.0 ± 9.9"],
    ]  # fmt: skip
    assert [line[3].endswith("*") for line in scores.rows] == [False, False, False]
    assert scores.rows[1][4] == "0.0 ± 0.0 *"


def test_the_tasks_page_says_what_the_results_say(tmp_path: Path) -> None:
    page = ROOT / "docs" / "tasks.md"
    copy = Path(shutil.copy(page, tmp_path / "page.md"))
    assert write_page(copy, ROOT / "benchmarks" / "results") == page.read_text(encoding="utf-8")
