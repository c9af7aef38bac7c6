"""Mistakes in paths, told before anything that takes seconds to import; jobs look again."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mwanda.errors import InputError, shown
from mwanda.evaluation.runtimes.registry import check_url, find_runtime, kind_of
from mwanda.model import given
from mwanda.system.files import is_there
from mwanda.system.output import MARK, OutputFile, OutputFolder
from mwanda.text.languages import tags_of
from mwanda.text.sources import open_source
from mwanda.text.text_source import check_languages

log = logging.getLogger("mwanda")

DRAW = ("windows", "window_length", "seed", "keep_english", "keep_repeated")
"""Fields that say how text is drawn."""

REPORTS: Mapping[str, tuple[str, bytes]] = {
    "html": (
        ".html",
        b'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        b'<meta name="generator" content="mwanda">\n',
    ),
    "markdown": (".md", b"<!-- made by mwanda -->\n"),
    "junit": (".xml", b"<?xml version='1.0' encoding='utf-8'?>\n<testsuites name=\"mwanda "),
}
"""Kind of report -> how its name ends, and how mwanda begins one."""


def check_model(*names: str | None) -> None:
    """A model that is not there, or a file that is none; None passes."""
    for name in names:
        if name is not None:
            given.check_model(name)


def artefact(
    model: str, runtime: str | None, tokenizer: str | None, url: str | None
) -> dict[str, Any]:
    """How an artefact is scored, for ``evaluate``; empty for a model. One that is not there, or a
    runtime that is not."""
    given = {"runtime": runtime, "tokenizer": tokenizer, "url": url}
    if runtime is None:
        unused = [f"--{name}" for name, value in given.items() if value is not None]
        if unused:
            raise InputError(", ".join(unused), expected="a --runtime", found="none")
        check_model(model)
        return {}
    find_runtime(runtime)
    check_url(runtime, url)
    if url is None and not (
        is_there(Path.is_dir, Path(model)) or is_there(Path.is_file, Path(model))
    ):
        raise _absent(model, "an artefact", "nothing there")
    return given


def artefact_beside(baseline: str, artefact: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a baseline: beside an artefact it is one too where only a runtime opens it."""
    kind = kind_of(baseline) if artefact else None
    if kind is None:
        check_model(baseline)
        return {}
    find_runtime(kind)
    return {"runtime": kind, "tokenizer": artefact["tokenizer"]}


def is_same(one: str, other: str) -> bool:
    """Whether both are there, and the same file or folder."""
    try:
        return Path(one).samefile(other)
    except OSError:
        return False


def check_text(spec: str | None, languages: str | Sequence[str] | None) -> None:
    """A text source that is not there, or lacks one of the languages (None: all there are), or
    whose files show in their first rows that they cannot be read; or a windows file that is not
    there."""
    if spec is None or spec.startswith("hub:"):
        return
    if spec.endswith(".safetensors"):
        check_file(Path(spec), kind="windows")
        return
    source = open_source(spec, tell=False)
    check_languages(source, source.languages() if languages is None else tags_of(languages))


def check_evidence(
    options: Mapping[str, Any], languages: str | Sequence[str] | None, *, needed: bool = True
) -> None:
    """Saved statistics among a command's options, or else its calibration text where needed."""
    text = options["calibration"]
    if options["statistics"] is not None:
        check_file(options["statistics"], kind="statistics")
    elif needed:
        check_text(text, languages)
    drawn = options["statistics"] or (text if str(text).endswith(".safetensors") else None)
    unused = [f"--{name.replace('_', '-')}" for name in DRAW if options.get(name) is not None]
    if drawn and unused:
        log.info("%s: its text was drawn before; not used: %s", drawn, ", ".join(unused))


def check_file(path: Path | None, expected: str = "a safetensors file", kind: str = "") -> None:
    """A file that is not there, ``kind`` put before its name; None passes."""
    if path is not None and not is_there(Path.is_file, path):
        raise _absent(f"{kind} {path}".strip(), expected, "no such file")


def check_folder(path: Path, expected: str) -> None:
    """A folder that is not there."""
    if not is_there(Path.is_dir, path):
        raise _absent(str(path), expected, "no folder")


def check_masks(path: Path) -> None:
    """What is neither a folder nor a file."""
    if not (is_there(Path.is_dir, path) or is_there(Path.is_file, path)):
        raise _absent(str(path), "a model folder or a file of masks", "nothing there")


def check_pruned(folder: Path) -> None:
    """A folder without the manifest of a prune."""
    if is_there(Path.is_file, folder):
        packed = folder.suffix == given.ARCHIVE
        raise InputError(
            str(folder), expected="a folder that mwanda wrote", found="a file",
            fix=given.unpack_first(folder) if packed else
            "give the pruned folder; whether a GGUF file made of it still has its zeros: "
            "mwanda gguf-check FILE FOLDER, and what its languages lost: mwanda eval FILE",
        )  # fmt: skip
    check_folder(folder, "a folder that mwanda wrote")
    check_file(folder / MARK, "the manifest of a folder that mwanda wrote")


def _absent(thing: str, expected: str, found: str) -> InputError:
    return InputError(shown(thing), expected=expected, found=found, fix="check the spelling")


def check_out_or_plan(out: Path | None, *, plan: bool) -> None:
    """Neither something to write nor a plan, or both."""
    if (out is None) != plan:
        raise InputError(
            "--out", expected="a folder to write, or --plan to write nothing",
            found="neither" if out is None else "both",
        )  # fmt: skip


def check_folder_out(out: Path, model: str | None, *, overwrite: bool) -> None:
    """A folder that must not be written, or cannot."""
    source = None if model is None else Path(model)
    OutputFolder(out, overwrite=overwrite).check(source, write=False)


def report_files(paths: Mapping[str, Path | None], *, overwrite: bool) -> dict[str, OutputFile]:
    """Kind of report -> its file, of those asked for; one that must not be written, or cannot."""
    found = {
        kind: OutputFile(
            path, suffix=REPORTS[kind][0], what="a report that mwanda wrote",
            is_ours=partial(_begins_with, REPORTS[kind][1]), overwrite=overwrite,
            option=f"--{kind}",
        )
        for kind, path in paths.items()
        if path is not None
    }  # fmt: skip
    for output in found.values():
        output.check()
    return found


def _begins_with(start: bytes, path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(start)) == start


def check_output(out: Path, suffix: str, *, overwrite: bool) -> None:
    """A file that must not be written, or cannot; what kind it is of is for the job."""
    OutputFile(
        out, suffix=suffix, what="a file", is_ours=lambda _path: True, overwrite=overwrite
    ).check()
