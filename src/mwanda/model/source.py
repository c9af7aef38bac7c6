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
from mwanda.model.companions import find_companions, is_licence
from mwanda.model.gguf.file import read_gguf
from mwanda.model.given import check_model, is_gguf
from mwanda.model.hub_files import fetch_model
from mwanda.system.files import check_disk_space


@dataclass(frozen=True)
class ModelSource:
    """A model folder in the hub's layout, wherever it came from."""

    folder: Path
    name: str  # as the user wrote it
    kind: str  # folder, gguf or hub
    original: Path | None  # the file or folder the user named, None for the hub
    dequantised: str | None = None  # what the weights were made from if not stored plain

    @property
    def hub_id(self) -> str | None:
        """The name on the hub, also of a folder in the hub's cache; None for any other."""
        if self.kind == "hub":
            return self.name
        folder = self.folder.resolve()
        parts = folder.parent.parent.name.split("--")
        cached = folder.parent.name == "snapshots" and parts[0] == "models"
        return "/".join(parts[1:]) if cached and len(parts) == 3 else None


@contextmanager
def open_model(
    name: str | Path,
    scratch: Path | None = None,
    *,
    trust_remote_code: bool = False,
    weights: bool = True,
) -> Iterator[ModelSource]:
    """Give a model folder for a folder, a GGUF file, or a hub id (``organisation/model``).

    Args:
        scratch: where a converted GGUF is kept meanwhile; None takes the system's place.
        trust_remote_code: fetch the model's own code too.
        weights: False to fetch all but these.
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
        folder = fetch_model(str(name), code=trust_remote_code, weights=weights)
        yield ModelSource(folder, str(name), "hub", None)


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """The folder's tokenizer."""
    from transformers import AutoTokenizer

    if not folder.is_dir():
        raise _no_tokenizer(folder, "no such folder")
    find_companions(folder)  # a link that leads nowhere would be taken for no file
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=trust_remote_code, local_files_only=True
        )
    except Exception as error:  # tokenizers raise a bare Exception for a damaged file
        found = " ".join(str(error).split())[:200] or type(error).__name__
        raise _no_tokenizer(folder, found) from error
    _refuse_empty(folder, tokenizer)
    return tokenizer


def _refuse_empty(folder: Path, tokenizer: Any) -> None:
    """Refuse a tokenizer without a vocabulary, which transformers makes where it finds no files."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None and not backend.get_vocab_size(with_added_tokens=False):
        raise _no_tokenizer(folder, "a tokenizer without a vocabulary")
    files = getattr(tokenizer, "vocab_files_names", None) or {}
    wanted = {"tokenizer.json", *(file for key, file in files.items() if key != "merges_file")}
    there = any((folder / file).is_file() for file in wanted)
    own = not type(tokenizer).__module__.startswith("transformers.")  # it knows its files itself
    if files and not there and not own and not [*folder.glob("tokenizer.[0-9]*.json")]:
        raise _no_tokenizer(folder, f"none of {', '.join(sorted(wanted))}")


def _no_tokenizer(folder: Path, found: str) -> InputError:
    expected = "tokenizer files that this transformers can load"
    fix = "copy tokenizer.json and tokenizer_config.json of the model into the folder"
    return InputError(f"{folder}: tokenizer", expected=expected, found=found, fix=fix)


def copy_licences(source: ModelSource, target: Path) -> None:
    """Copy licence and notice files that lie beside a GGUF file; a folder's are companions."""
    if source.kind != "gguf" or source.original is None:
        return
    for path in sorted(source.original.resolve().parent.iterdir()):
        if path.is_file() and is_licence(path.name):
            shutil.copyfile(path, target / path.name)
