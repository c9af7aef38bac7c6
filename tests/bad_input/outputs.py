"""Outputs that cannot be written where they were asked for, and studies that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.bad_input.case import Case
from tests.bad_input.place import QUICK, Place

__all__ = ["OUTPUTS"]

NEW = ("{root}/out", "a new folder", "--overwrite")


def _made(place: Place, made: Path, words: list[object]) -> list[object]:
    """The words, once there is a folder."""
    made.mkdir(parents=True)
    return words


def _foreign(place: Place) -> list[object]:
    place.written("out/thesis.tex", "years")
    return place.prune(None, "--overwrite")


def _own(place: Place, *words: object) -> list[object]:
    """A prune to the folder that an earlier one has written."""
    place.copied("pruned").rename(place.out)
    return [*place.magnitude(place.good / "model"), *words]


def _onto(name: str, says: str) -> Case:
    """A prune to its own source, by one of its names."""

    def make(place: Place) -> list[object]:
        folder = place.model()
        (folder / "mwanda.json").write_text("{}")
        (place.root / "link").symlink_to(folder)
        given = ["--calibration", place.good / "text", *QUICK, "--overwrite"]
        return ["prune", folder, *given, "--out", place.root / name]

    return Case(f"output: the source as {name or 'what holds it'}", make,
                (f"{{root}}/{name}".rstrip("/"), "another folder", says))  # fmt: skip


def _in_a_file(place: Place) -> list[object]:
    return place.prune(None, "--out", place.written("file") / "out")


FOLDERS = [
    Case("output: there", lambda p: _made(p, p.out, p.prune()), NEW),
    Case("output: there, planned", lambda p: _made(p, p.out, p.plan("--out", p.out)), NEW),
    Case("output: a model of ours", _own, ("--overwrite",)),
    Case("output: with somebody's file", _foreign, ("{root}/out", "mwanda.json", "thesis.tex")),
    _onto("model", "the same"), _onto("", "holds it"), _onto("link", "the same"),
    Case("output: in no folder", lambda p: p.prune(None, "--out", p.root / "no" / "out"),
         ("{root}/no", "no such folder", "make the folder")),
    Case("output: in a file", _in_a_file, ("{root}/file", "found a file")),
    Case("output: a name too long", lambda p: p.prune(None, "--out", p.root / ("x" * 250)),
         ("long",)),
    Case("output: the source of masks", lambda p: p.apply(m := p.model(), "--out", m),
         ("another folder than the source",)),
    Case("output: a file for masks put on",
         lambda p: p.apply(p.good / "model", "--out", p.written("file")), ("an existing file",)),
]  # fmt: skip


def _merged_onto_itself(place: Place) -> list[object]:
    file = place.copied("statistics.safetensors")
    return ["stats", "merge", file, file, "--out", file]


SHARD = "model/model.safetensors"
END = "ending in .safetensors"
FILES = [
    Case("windows: over a file", lambda p: p.draw("--out", p.written("w.safetensors")),
         ("a new file", "--overwrite")),
    Case("windows: over an empty file",
         lambda p: p.draw("--out", p.written("w.safetensors"), "--overwrite"),
         ("{root}/w.safetensors", "a windows file")),
    Case("windows: over a shard",
         lambda p: p.draw("--out", p.model() / "model.safetensors", "--overwrite"),
         (f"{{root}}/{SHARD}", "a windows file")),
    Case("windows: over a folder", lambda p: p.draw("--out", p.root), (END,)),
    Case("windows: in no folder", lambda p: p.draw("--out", p.root / "no" / "w.safetensors"),
         ("{root}/no", "a folder to write")),
    Case("masks: a name of another kind",
         lambda p: ["mask", "extract", p.good / "pruned", "--out", p.root / "m"], (END,)),
    Case("masks: alone, and a name of another kind",
         lambda p: p.prune(None, "--masks-only", "--out", p.root / "m"), (f"a name {END}",)),
    Case("masks: over a file", lambda p: ["mask", "extract", p.good / "pruned", "--out",
                                          p.copied("masks.safetensors")], ("pass --overwrite",)),
    Case("statistics: over a file", _merged_onto_itself, ("an existing one", "--overwrite")),
]  # fmt: skip


def _study(what: str, *says: str, words: tuple[object, ...] = (), **fields: Any) -> Case:
    return Case(
        f"study: {what}", lambda p: ["study", p.study(**fields), "--out", p.out, *words], says
    )


def _study_over(place: Place) -> list[object]:
    return ["study", place.study(), "--out", place.written("full/thesis.txt", "mine").parent]


STUDIES = [
    Case("study: status of no folder", lambda p: ["study", "status", p.root / "no"],
         ("study", "no folder")),
    Case("study: no document", lambda p: ["study", p.root / "no.yaml", "--out", p.out],
         ("no.yaml", "no such file")),
    Case("study: over somebody's folder", _study_over, ("thesis.txt", "choose another --out")),
    _study("in processes and on a cluster", "--processes",
           words=("--processes", 2, "--cluster", 2)),
    _study("a sparsity beyond 1", "sparsities.0", "less than 1", criteria=["wonda"],
           sparsities=[2]),
    _study("an unknown criterion", "wonda", "study.yaml", criteria=["wonda"], languages=["fr"]),
    _study("a model that is not there", "/no", models={"a": "/no"}),
    Case("report: no folder", lambda p: ["report", p.root / "no"], ("study", "no folder")),
    Case("report: another folder", lambda p: ["report", p.root], ("plan.json", "another folder")),
    Case("search: a language that is not scored",
         lambda p: p.search("--max-loss", "5%", "--language", "hi=1%"), ("--language", "hi")),
    Case("search: of a given sparsity", lambda p: p.search("--max-loss", "5%", "--sparsity", 0.5),
         ("--sparsity", "none")),
    Case("search: no limit", lambda p: p.search("--max-loss", "five"), ("--max-loss", "5%")),
    Case("search: over a folder",
         lambda p: _made(p, p.out, p.search("--max-loss", "5%", "--out", p.out)), ("--overwrite",)),
]  # fmt: skip

OUTPUTS = (*FOLDERS, *FILES, *STUDIES)
