"""Mistakes in paths, told before anything that takes seconds to import; jobs look again."""

from __future__ import annotations

from pathlib import Path

from mwanda.errors import InputError, shown


def check_model(*names: str | None) -> None:
    """A model that is not there, or a file that is none."""
    from mwanda.model.given import check_model as check

    for name in names:
        if name is not None:
            check(name)


def check_text(spec: str | None) -> None:
    """A text source that is not there or has no language, or a windows file that is not there."""
    if spec is None or spec.startswith("hub:"):
        return
    if spec.endswith(".safetensors"):
        check_file(Path(spec), kind="windows")
        return
    from mwanda.text.sources import open_source

    open_source(spec, tell=False)


def check_file(path: Path | None, expected: str = "a safetensors file", kind: str = "") -> None:
    """A file that is not there; None passes.

    Args:
        kind: put before its name in the message.
    """
    if path is not None and not _there(path, folder=False):
        raise _absent(f"{kind} {path}".strip(), expected, "no such file")


def check_folder(path: Path, expected: str) -> None:
    """A folder that is not there."""
    if not _there(path, folder=True):
        raise _absent(str(path), expected, "no folder")


def check_masks(path: Path) -> None:
    """What is neither a folder nor a file."""
    if not (_there(path, folder=True) or _there(path, folder=False)):
        raise _absent(str(path), "a model folder or a file of masks", "nothing there")


def check_pruned(folder: Path) -> None:
    """A folder without the manifest of a prune."""
    from mwanda.system.output import MARK

    check_folder(folder, "a folder that mwanda wrote")
    check_file(folder / MARK, "the manifest of a folder that mwanda wrote")


def _there(path: Path, *, folder: bool) -> bool:
    try:
        return path.is_dir() if folder else path.is_file()
    except (OSError, ValueError):  # too long, or with a NUL
        return False


def _absent(thing: str, expected: str, found: str) -> InputError:
    return InputError(shown(thing), expected=expected, found=found, fix="check the spelling")


def check_folder_out(out: Path, model: str | None, *, overwrite: bool) -> None:
    """A folder that must not be written, or cannot."""
    from mwanda.system.output import OutputFolder

    source = None if model is None or not Path(model).exists() else Path(model)
    OutputFolder(out, overwrite=overwrite).check(source, write=False)


def check_output(out: Path, suffix: str, *, overwrite: bool) -> None:
    """A file that must not be written, or cannot; what kind it is of is for the job."""
    from mwanda.system.output import OutputFile

    OutputFile(
        out, suffix=suffix, what="a file", is_ours=lambda _path: True, overwrite=overwrite
    ).check()
