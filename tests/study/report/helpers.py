"""Made-up results of studies, and pages taken apart."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from mwanda.study.document import EvaluationPart, RunPart
from mwanda.study.folder import StudyFolder
from mwanda.study.records import DENSE, Cell, Entry, ModelRecord
from mwanda.study.report.write import write_report
from mwanda.study.study_plan import Plan

NASTY = "<img src=x onerror=alert(1)>|`a`\"'&amp;"
LANGUAGES = ("de", "hi", "sw")
VOID = {"meta", "link", "img", "br", "hr", "input"}


def study(
    root: Path,
    rises: dict[tuple[str, float, int], dict[str, float]],
    *,
    model: str = "tiny",
    sentences: int = 12,
    ids: bool = True,
    left_out: tuple[str, ...] = (),
    dense: bool = True,
) -> StudyFolder:
    """A study's folder whose methods raise every sentence's nats by these shares, and a little
    noise that is the same for all methods."""
    folder = StudyFolder(root / "study")
    folder.make()
    base = {tag: [100.0 + 7 * n + 20 * k for n in range(sentences)]
            for k, tag in enumerate(LANGUAGES)}  # fmt: skip
    entries = [Entry(model=model, method=DENSE, sparsity=0.0, seed=None, key="dense")]
    cells = {"dense": cell(model, None)}
    if dense:
        folder.write_result("dense", result("dense", cells["dense"], base))
    for number, ((method, sparsity, seed), shares) in enumerate(rises.items()):
        key = f"cell{number}"
        entries.append(Entry(model=model, method=method, sparsity=sparsity, seed=seed, key=key))
        cells[key] = cell(model, sparsity)
        if key in left_out:
            continue
        nats = {
            tag: [x * (1 + shares[tag] + 0.002 * (-1) ** n) for n, x in enumerate(base[tag])]
            for tag in LANGUAGES
        }
        blocks = {"0": sparsity - 0.1, "1": sparsity + 0.1}
        told = {"sparsity": sparsity, "model_sparsity": sparsity / 2, "blocks": blocks}
        folder.write_result(key, result(key, cells[key], nats, ("de", "sw")) | told)
    plan = Plan(
        document=f"models: {{{model}: x}}\n",
        models={model: ModelRecord(path="/some/where/tiny", sha256="0" * 64)},
        calibration="/some/where/gnome",
        sets={},
        evaluation=EvaluationPart(text="/some/where/flores"),
        run=RunPart(),
        keep=False,
        text_sha256="1" * 64,
        languages=LANGUAGES,
        ids=tuple(range(sentences)) if ids else None,
        statistics={"s": {"model": model}},
        entries=tuple(entries),
        cells=cells,
    )
    folder.write_plan(plan.model_dump(mode="json"))
    blocks = [{"block": n, "agreement": 0.5 + 0.1 * n} for n in range(2)]
    folder.write_view("s", {"blocks": blocks, "languages": {"de": {}, "sw": {}}})
    return folder


def cell(model: str, sparsity: float | None) -> Cell:
    recipe = {
        "criterion": {"name": "wanda", "options": {"norms": "raw"}},
        "allocation": {"name": "cwl", "options": {}}, "reconstruction": None,
        "pattern": "unstructured", "mode": "dense", "windows": 2, "window_length": 32,
        "languages": ["de", "sw"],
    }  # fmt: skip
    if sparsity is None:
        return Cell(settings={"recipe": None, "calibration": None}, model=model)
    return Cell(settings={"recipe": recipe, "calibration": {"de": None, "sw": None}},
                model=model, statistics="s")  # fmt: skip


def result(
    key: str, made: Cell, nats: dict[str, list[float]], seen: tuple[str, ...] = ()
) -> dict[str, Any]:
    return {
        "key": key, "settings": made.settings, "seen": list(seen), "compute_dtype": "float32",
        "bos": "none", "versions": {"mwanda": "1"},
        "languages": {t: {"tokens": 200, "size": 900, "sentence_nll": n} for t, n in nats.items()},
    }  # fmt: skip


ALL = {"de": 0.05, "hi": 0.2, "sw": 0.1}
LESS = {"de": 0.04, "hi": 0.2, "sw": 0.0}
GRID = {
    ("first", 0.3, 0): ALL, ("first", 0.5, 0): {tag: 2 * x for tag, x in ALL.items()},
    ("second", 0.3, 0): LESS, ("second", 0.5, 0): ALL,
}  # fmt: skip


class Page(HTMLParser):
    """A page taken apart, every element closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.append(data)

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.elements if name == tag)


def page(folder: StudyFolder) -> Page:
    return Page(html(folder))


def html(folder: StudyFolder) -> str:
    write_report(folder.path, folder.path / "report", overwrite=True)
    return (folder.path / "report" / "index.html").read_text(encoding="utf-8")
