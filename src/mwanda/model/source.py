"""Where a model comes from: a folder, a GGUF file, or the hub."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mwanda.errors import InputError
from mwanda.model.gguf import read_gguf
from mwanda.model.given import check_model, is_gguf
from mwanda.model.output import check_disk_space

__all__ = [
    "ModelSource",
    "copy_companions",
    "copy_licences",
    "load_tokenizer",
    "open_model",
]

WEIGHT_SUFFIXES = (
    ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx", ".ot",
    ".mlmodel", ".npz", ".tflite",
)  # fmt: skip
REPLACED = ("model.safetensors.index.json", "pytorch_model.bin.index.json", "readme.md",
            "mwanda.json", "quantised.json", "config.json")  # fmt: skip
LICENCES = ("LICENSE", "LICENCE", "NOTICE", "COPYING", "TERMS", "USE_POLICY", "GEMMA_TERMS")
HUB_FILES = [
    "*.safetensors",
    "*.json",
    "*.txt",
    "*.model",
    "*.jinja",
    "LICENSE*",
    "NOTICE*",
    "*.md",
]


@dataclass(frozen=True)
class ModelSource:
    """A model folder in the hub's layout, wherever it came from.

    Attributes:
        folder: holds config.json, safetensors and tokenizer.
        name: as the user wrote it.
        kind: ``folder``, ``gguf`` or ``hub``.
        original: the file or folder the user named, None for the hub.
        dequantised: what the weights were made from when they were not stored plain.
    """

    folder: Path
    name: str
    kind: str
    original: Path | None
    dequantised: str | None = None


@contextmanager
def open_model(name: str | Path, scratch: Path | None = None) -> Iterator[ModelSource]:
    """Give a model folder for whatever ``name`` is.

    Args:
        name: a folder, a GGUF file, or a hub id (``organisation/model``, fetched on purpose).
        scratch: where a converted GGUF is kept meanwhile; None takes the system's place.

    Raises:
        InputError: nothing of that name, or not a model.
    """
    check_model(name)
    path = Path(name)
    if path.is_dir():
        yield ModelSource(path, str(name), "folder", path)
    elif is_gguf(path):
        with tempfile.TemporaryDirectory(prefix=".mwanda-gguf-", dir=scratch) as made:
            file = read_gguf(path)
            needed = file.header.weights * torch.bfloat16.itemsize
            check_disk_space(Path(made), 2 * needed, "the converted GGUF and the output")
            file.convert(Path(made), torch.bfloat16)
            yield ModelSource(Path(made), str(name), "gguf", path, f"GGUF file {path.name}")
    else:
        yield ModelSource(_fetch(str(name)), str(name), "hub", None)


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """The folder's tokenizer.

    Raises:
        InputError: missing or unreadable.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            folder, trust_remote_code=trust_remote_code, local_files_only=True
        )
    except Exception as error:  # tokenizers raise a bare Exception for a damaged file
        raise InputError(
            f"{folder}: tokenizer",
            expected="tokenizer files that this transformers can load",
            found=" ".join(str(error).split())[:200] or type(error).__name__,
            fix="copy tokenizer.json and tokenizer_config.json of the model into the folder",
        ) from error


def copy_companions(source: Path, target: Path) -> list[str]:
    """Copy everything that is not weights: tokenizer, chat template, licences, notices.

    Links that lead out of the folder are followed only inside the hub's own cache; folders and
    hidden files stay behind.

    Returns:
        Names of the files copied.
    """
    copied = []
    root = source.resolve()
    for path in sorted(source.iterdir()):
        lower = path.name.lower()
        if path.name.startswith(".") or lower in REPLACED or lower.endswith(WEIGHT_SUFFIXES):
            continue
        real = path.resolve()
        inside = real.is_relative_to(root)
        cached = root.parent.name == "snapshots" and real.is_relative_to(root.parent.parent)
        if real.is_file() and (inside or cached):
            shutil.copyfile(real, target / path.name)
            copied.append(path.name)
    templates = source / "additional_chat_templates"
    if templates.is_dir() and templates.resolve().is_relative_to(root):
        (target / templates.name).mkdir()
        for path in sorted(templates.glob("*.jinja")):
            shutil.copyfile(path, target / templates.name / path.name)
            copied.append(f"{templates.name}/{path.name}")
    return copied


def copy_licences(source: ModelSource, target: Path) -> None:
    """Copy licence and notice files that lie beside a GGUF file; a folder's are companions."""
    if source.kind != "gguf" or source.original is None:
        return
    for path in sorted(source.original.resolve().parent.iterdir()):
        if path.is_file() and path.name.upper().startswith(LICENCES):
            shutil.copyfile(path, target / path.name)


def _fetch(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise InputError(
            name,
            expected="a model folder, or a hub id that can be reached",
            found=f"no such folder, and the hub gave: {type(error).__name__}",
            fix="check the spelling and the network, or give a local folder",
        ) from error
