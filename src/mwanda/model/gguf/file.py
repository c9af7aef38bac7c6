"""GGUF in: a model folder made of it, its weights dequantised one after the other."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mwanda.errors import InputError, MwandaError, shown
from mwanda.model.gguf.config import read_config
from mwanda.model.gguf.header import GgufHeader, parse_header
from mwanda.model.gguf.steps import choose_steps
from mwanda.model.gguf.weights import ORIGINAL, WHOLE, write_weights
from mwanda.model.run.skeleton import build_skeleton, refuse_encoder
from mwanda.system.heap import trim

MAX_SHARD = 5 << 30


@dataclass(frozen=True)
class Gguf:
    """A GGUF file of a decoder, of which the header was read and nothing else.

    Attributes:
        header: what it says of itself.
        config: the transformers config that describes.
    """

    header: GgufHeader
    config: Any
    _told: dict[str, Any]
    _spare: frozenset[str]

    def convert(self, folder: Path, dtype: torch.dtype) -> None:
        """Write ``folder`` as a model folder with the dequantised weights.

        Args:
            folder: an existing folder to fill.
            dtype: of the weights written.
        """
        from transformers import GenerationConfig

        with self._making("a GGUF file of a decoder that this transformers can read"):
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
                GenerationConfig.from_model_config(config).save_pretrained(folder)
        self.tokenizer().save_pretrained(folder)
        trim()

    def tokenizer(self) -> Any:
        """The tokenizer in the file, as transformers builds it."""
        from transformers import AutoTokenizer
        from transformers.integrations.gguf import convert_gguf_tokenizer

        header = self.header
        try:
            kept, settings = _tokenizer_fields(header)
            made, _ = convert_gguf_tokenizer(header.architecture, kept)
            with tempfile.TemporaryDirectory(prefix="mwanda-gguf-") as folder:
                # A folder that says nothing: the class comes from the config, all else is given.
                (Path(folder) / "tokenizer_config.json").write_text("{}")
                return AutoTokenizer.from_pretrained(
                    folder,
                    config=self.config,
                    tokenizer_object=_Given(made),
                    local_files_only=True,
                    **settings,
                )
        except Exception as error:  # a damaged vocabulary shows as an error of any kind
            raise InputError(
                f"{header.path}: tokenizer",
                expected="one in the file that transformers can build",
                found=_one_line(error),
                fix=ORIGINAL,
            ) from error

    @contextmanager
    def _making(self, expected: str) -> Iterator[None]:
        try:
            yield
        except (MwandaError, OSError):
            raise
        except Exception as error:  # metadata may lack anything, which shows as any error
            raise _unreadable(self.header, expected, error) from error


def read_gguf(path: Path) -> Gguf:
    """Read what a GGUF file says of its model."""
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
    try:
        config, told, spare = read_config(header)
    except MwandaError:
        raise
    except Exception as error:  # as above
        expected = "a GGUF file of a decoder that this transformers can read"
        raise _unreadable(header, expected, error) from error
    refuse_encoder(path, config)
    return Gguf(header, config, told, spare)


def open_gguf(path: Path) -> GgufHeader:
    """The header of a GGUF file, whatever it is of."""
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise InputError(
            str(path),
            expected="the package that reads GGUF",
            found=str(error),
            fix="pip install 'mwanda[gguf]'",
        ) from error
    try:
        return parse_header(path)
    except Exception as error:  # damaged bytes show as an error of any kind
        raise InputError(
            str(path),
            expected="a whole GGUF file",
            found=f"{path.stat().st_size:,} bytes that end too early or make no sense "
            f"({_one_line(error)})",
            fix=WHOLE,
        ) from error


class _Given:
    """Something that whoever copies it shall have: two copies of a vocabulary are dear."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self._value


def _tokenizer_fields(header: GgufHeader) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a tokenizer is made of, and its settings, as transformers sorts them."""
    from transformers.integrations.gguf import gguf_tokenizer_mapping as mapping

    fields = header.fields
    kept, settings = (
        {
            name: fields[f"tokenizer.{key}"]
            for key, name in mapping.GGUF_TOKENIZER_MAPPING[group].items()
            if f"tokenizer.{key}" in fields
        }
        for group in ("tokenizer", "tokenizer_config")
    )
    # Both as in transformers' ``get_gguf_tokenizer``, which would read the file again.
    if kept.get("tokenizer_type") == "llama":
        settings.setdefault("add_bos_token", True)
    elif kept.get("tokenizer_type") == "gemma4":
        settings["add_bos_token"] = False
    for name, key in mapping._SPECIAL_TOKENS.items():
        number = fields.get(f"tokenizer.ggml.{key}")
        settings[name] = None if number is None else kept["tokens"][number]
    return kept, settings


def _unreadable(header: GgufHeader, expected: str, error: Exception) -> InputError:
    missing = isinstance(error, ImportError) or "pip install" in str(error)
    return InputError(
        str(header.path),
        expected=expected,
        found=f"architecture {shown(header.architecture)}: {_one_line(error)}",
        fix="pip install 'mwanda[gguf]'" if missing else ORIGINAL,
    )


def _one_line(error: Exception) -> str:
    return shown(" ".join(str(error).split())) or type(error).__name__
