"""GGUF in: a model folder made of it, its weights dequantised one after the other."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mwanda.errors import InputError, MwandaError, shown
from mwanda.model.gguf.config import read_config
from mwanda.model.gguf.header import ORIGINAL, GgufHeader, parse_header
from mwanda.model.gguf.older_readers import write_for_older, write_sentencepiece
from mwanda.model.gguf.steps import choose_steps
from mwanda.model.gguf.tokenizer import build_tokenizer, stop_tokens
from mwanda.model.gguf.weights import WHOLE, write_weights
from mwanda.model.run.skeleton import build_skeleton, refuse_encoder
from mwanda.system.heap import trim

MAX_SHARD = 5 << 30

WIDE = {"F16", "F32", "F64"}
"""Types of weights that bfloat16 has fewer digits than; packed ones are rounded anyway."""

log = logging.getLogger("mwanda")


@dataclass(frozen=True)
class Gguf:
    """A GGUF file of a decoder, of which the header was read and nothing else, and the
    transformers config that it describes."""

    header: GgufHeader
    config: Any
    _told: dict[str, Any]
    _spare: frozenset[str]

    def convert(self, folder: Path, dtype: torch.dtype) -> None:
        """Make an existing folder a model folder, with dequantised weights in ``dtype``."""
        from transformers import GenerationConfig

        wide = sorted({t.kind.name for t in self.header.tensors if t.rows > 1} & WIDE)
        if wide and dtype == torch.bfloat16:
            log.info("%s: its weights in %s are rounded to bfloat16",
                     self.header.path, " and ".join(wide))  # fmt: skip
        with _making(self.header, passed=(MwandaError, OSError)):
            try:
                model = build_skeleton(self.config, dtype, hollow=True)
            except InputError as error:
                raise ValueError(error.found) from error  # by the file, and not by its config
            steps = choose_steps(self.header, self._told, model)
            write_weights(
                self.header, steps, model, folder, dtype=dtype, spare=self._spare,
                max_shard_size=MAX_SHARD,
            )  # fmt: skip
            config = model.config
            config.architectures = [type(model).__name__]
            config.save_pretrained(folder)
            if model.can_generate():
                generation = GenerationConfig.from_model_config(config)
                stops = stop_tokens(self.header)
                if len(stops) > 1:
                    generation.eos_token_id = stops
                generation.save_pretrained(folder)
        tokenizer = self.tokenizer()
        tokenizer.save_pretrained(folder)
        write_for_older(folder)
        write_sentencepiece(self.header, tokenizer, folder)
        trim()

    def tokenizer(self) -> Any:
        """The tokenizer in the file."""
        return build_tokenizer(self.header, self.config.model_type)


def read_gguf(path: Path) -> Gguf:
    """Read what a GGUF file says of its model, and say so: vocabularies take their time."""
    log.info("unpacking %s", path)
    header = open_gguf(path)
    fields = header.fields
    parts = fields.get("split.count", 1)
    if isinstance(parts, int) and parts > 1:
        raise InputError(
            str(path),
            expected="a GGUF in one file",
            found=f"part {fields.get('split.no', 0) + 1} of {parts}",
            fix="join the parts first: llama-gguf-split --merge FIRST-PART WHOLE-FILE",
        )
    named = isinstance(fields.get("general.architecture"), str)
    if not named or not header.weights:
        found = "no general.architecture in it" if header.weights else "no weights in it"
        raise InputError(str(path), expected="a GGUF file of a model", found=found, fix=WHOLE)
    with _making(header, passed=(MwandaError,)):
        config, told, spare = read_config(header)
    refuse_encoder(path, config)
    return Gguf(header, config, told, spare)


def open_gguf(path: Path) -> GgufHeader:
    """The header of a GGUF file, whatever it is of."""
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        expected = "the package that reads GGUF"
        fix = "pip install 'mwanda[gguf]'"
        raise InputError(str(path), expected=expected, found=str(error), fix=fix) from error
    try:
        return parse_header(path)
    except MwandaError:
        raise
    except Exception as error:  # damaged bytes show as an error of any kind
        raise InputError(
            str(path),
            expected="a whole GGUF file",
            found=f"{path.stat().st_size:,} bytes that end too early or make no sense "
            f"({_one_line(error)})",
            fix=WHOLE,
        ) from error


@contextmanager
def _making(header: GgufHeader, *, passed: tuple[type[Exception], ...]) -> Iterator[None]:
    try:
        yield
    except passed:
        raise
    except Exception as error:  # metadata may lack anything, which shows as any error
        missing = isinstance(error, ImportError) or "pip install" in str(error)
        raise InputError(
            str(header.path),
            expected="a GGUF file of a decoder that this transformers can read",
            found=f"architecture {shown(header.architecture)}: {_one_line(error)}",
            fix="pip install 'mwanda[gguf]'" if missing else ORIGINAL,
        ) from error


def _one_line(error: Exception) -> str:
    return shown(" ".join(str(error).split())) or type(error).__name__
