"""GGUF in: dequantised whole in memory by transformers, then kept as temporary safetensors."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mwanda.errors import InputError
from mwanda.model.gguf_header import check_header
from mwanda.model.layout import shown
from mwanda.model.skeleton import refuse_encoder

__all__ = ["GgufHeader", "convert", "load_gguf_config", "open_gguf", "read_gguf_header"]

log = logging.getLogger("mwanda")

WHOLE = "download the file again, or give the original model's folder"
ORIGINAL = "give the original model's folder (safetensors) instead"


@dataclass(frozen=True)
class GgufHeader:
    """What a GGUF file says of itself.

    Attributes:
        path: the file.
        architecture: its ``general.architecture``.
        weights: how many numbers its tensors hold.
    """

    path: Path
    architecture: str
    weights: int


def load_gguf_config(header: GgufHeader) -> Any:
    """The transformers config that a GGUF file's metadata describes.

    Raises:
        InputError: an architecture that transformers cannot read, or that is no decoder.
    """
    from transformers import AutoConfig

    path = header.path
    try:
        config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
    except Exception as error:  # metadata may lack anything, which shows as an error of any kind
        raise _unreadable(header, error) from error
    refuse_encoder(path, config)
    return config


def convert(header: GgufHeader, folder: Path, dtype: torch.dtype) -> None:
    """Write ``folder`` as a model folder with the dequantised weights of a GGUF file.

    The whole model is in memory while this runs. The stale ``quantization_config`` is dropped: the
    weights written are plain.

    Args:
        header: of the GGUF file, which is read once: a vocabulary makes that take seconds.
        folder: an existing folder to fill.
        dtype: of the weights written.

    Raises:
        InputError: as :func:`load_gguf_config`; or the file lacks weights of its architecture, or
            has them in another shape, or no tokenizer that transformers can build.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    load_gguf_config(header)
    path = header.path
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            dtype=dtype,
            quantization_config=GgufConfig(dequantize=True),
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, by name
        )
    except Exception as error:  # as above
        raise _unreadable(header, error) from error
    _refuse_incomplete(header, report)
    unread = header.weights - sum(parameter.numel() for parameter in model.parameters())
    if unread > 0:
        log.warning(
            "%s: transformers reads all but %d of the %d numbers in it into %s; what the others "
            "did (scaled rotary frequencies, say) is lost",
            path, unread, header.weights, type(model).__name__,
        )  # fmt: skip
    if getattr(model.config, "quantization_config", None) is not None:
        del model.config.quantization_config
    model.save_pretrained(folder, max_shard_size="5GB")
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path.parent, gguf_file=path.name, local_files_only=True
        )
    except Exception as error:  # as above
        raise InputError(
            f"{path}: tokenizer",
            expected="one in the file that transformers can build",
            found=_one_line(error),
            fix=ORIGINAL,
        ) from error
    tokenizer.save_pretrained(folder)


def read_gguf_header(path: Path) -> GgufHeader:
    """Read the header and see that every tensor is there.

    Raises:
        InputError: as :func:`open_gguf`; or one part of several, or no model.
    """
    reader, names = open_gguf(path), ("general.architecture", "split.no", "split.count")
    there = {name: reader.get_field(name) for name in names}
    try:
        fields = {name: field.contents() for name, field in there.items() if field is not None}
    except Exception as error:  # damaged bytes show as an error of any kind
        raise _damaged(path, error) from error
    weights = sum(int(tensor.n_elements) for tensor in reader.tensors)
    parts = fields.get("split.count", 1)
    if parts > 1:
        raise InputError(
            str(path),
            expected="a GGUF in one file",
            found=f"part {fields.get('split.no', 0) + 1} of {parts}",
            fix="join the parts first: llama-gguf-split --merge FIRST-PART WHOLE-FILE",
        )
    architecture = fields.get("general.architecture")
    if not isinstance(architecture, str) or not weights:
        found = "no general.architecture in it" if weights else "no weights in it"
        raise InputError(str(path), expected="a GGUF file of a model", found=found, fix=WHOLE)
    return GgufHeader(path, shown(architecture), weights)


def open_gguf(path: Path) -> Any:
    """The library's reader of a GGUF file, all its fields and tensors found.

    Raises:
        InputError: damaged or truncated, or the extra is not installed.
    """
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise InputError(
            str(path),
            expected="the package that reads GGUF",
            found=str(error),
            fix="pip install 'mwanda[gguf]'",
        ) from error
    try:
        check_header(path)
        return GGUFReader(path)
    except Exception as error:  # as above
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        str(path),
        expected="a whole GGUF file",
        found=f"{path.stat().st_size:,} bytes that end too early or make no sense "
        f"({_one_line(error)})",
        fix=WHOLE,
    )


def _refuse_incomplete(header: GgufHeader, report: dict[str, Any]) -> None:
    """Refuse a file from which transformers would leave weights at random values."""
    path = header.path
    absent = sorted(report["missing_keys"])
    if absent:
        raise InputError(
            f"{path}: {absent[0]}",
            expected=f"every weight of the architecture {header.architecture} in the file",
            found=f"none for it ({len(absent)} such weights)",
            fix=WHOLE,
        )
    for name, stored, wanted in sorted(report["mismatched_keys"]):
        raise InputError(
            f"{path}: {name}",
            expected=f"shape {list(wanted)}, as transformers reads the file's metadata",
            found=f"{list(stored)}",
            fix=ORIGINAL,
        )


def _unreadable(header: GgufHeader, error: Exception) -> InputError:
    missing = isinstance(error, ImportError) or "pip install" in str(error)
    return InputError(
        str(header.path),
        expected="a GGUF file of a decoder that this transformers can read",
        found=f"architecture {header.architecture}: {_one_line(error)}",
        fix="pip install 'mwanda[gguf]'" if missing else ORIGINAL,
    )


def _one_line(error: Exception) -> str:
    return shown(" ".join(str(error).split())) or type(error).__name__
