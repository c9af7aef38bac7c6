"""GGUF in: dequantised whole in memory by transformers, then kept as temporary safetensors."""

from __future__ import annotations

from pathlib import Path

import torch

from mwanda.errors import InputError

__all__ = ["convert", "count_weights", "is_gguf", "load_gguf_config"]


def is_gguf(path: Path) -> bool:
    """Whether a file begins as GGUF does."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"GGUF"


def count_weights(path: Path) -> int:
    """Number of weights in a GGUF file, from its header.

    Raises:
        InputError: unreadable, or the extra is not installed.
    """
    try:
        from gguf import GGUFReader

        return sum(int(tensor.n_elements) for tensor in GGUFReader(path).tensors)
    except (ImportError, OSError, ValueError, KeyError, IndexError) as error:
        raise _unreadable(path, error) from error


def load_gguf_config(path: Path) -> object:
    """The transformers config that a GGUF file's metadata describes.

    Raises:
        InputError: an architecture transformers cannot read, or the extra is not installed.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
    except (ImportError, OSError, ValueError, KeyError) as error:
        raise _unreadable(path, error) from error


def convert(path: Path, folder: Path, dtype: torch.dtype) -> None:
    """Write ``folder`` as a model folder with the dequantised weights of a GGUF file.

    The whole model is in memory while this runs. The stale ``quantization_config`` is dropped: the
    weights written are plain.

    Args:
        path: the GGUF file.
        folder: an existing folder to fill.
        dtype: of the weights written.

    Raises:
        InputError: not a GGUF that transformers can read, or the extra is not installed.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    try:
        model = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            dtype=dtype,
            quantization_config=GgufConfig(dequantize=True),
            local_files_only=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(
            path.parent, gguf_file=path.name, local_files_only=True
        )
    except (ImportError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise _unreadable(path, error) from error
    if getattr(model.config, "quantization_config", None) is not None:
        del model.config.quantization_config
    model.save_pretrained(folder, max_shard_size="5GB")
    tokenizer.save_pretrained(folder)


def _unreadable(path: Path, error: Exception) -> InputError:
    fix = "choose a GGUF of an architecture that this transformers can read"
    if isinstance(error, ImportError) or "pip install" in str(error):
        fix = "pip install 'mwanda[gguf]'"
    return InputError(
        str(path),
        expected="a GGUF file of a causal decoder",
        found=str(error).strip().splitlines()[0][:200] if str(error).strip() else "unreadable",
        fix=fix,
    )
