"""What transformers itself makes of a GGUF file's metadata."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mwanda.model.gguf.header import ALIGNMENT, GgufHeader

LONG = 1000
"""Values of an array from which on it is a vocabulary, which no config is made of."""

TOKENS = "tokenizer.ggml.tokens"
STAND_IN = ["a", "b"]
"""Instead of the vocabulary where only its length matters, which is then mended."""


class _Read(dict[str, Any]):
    """Metadata that knows what was asked of it."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        super().__init__(fields)
        self.taken: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.taken.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.taken.add(key)
        return super().get(key, default)


def as_transformers(header: GgufHeader) -> tuple[dict[str, Any], dict[str, str | None]]:
    """What transformers reads, by the names of its config, and the architecture's own fields that
    it read that from.

    Of each field the name in the config, which its class may not have; None for one that it has.
    """
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING
    from transformers.integrations.gguf import GGUF_CONFIG_ARCHS, get_gguf_config
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    kind = header.architecture
    if kind in GGUF_CONFIG_ARCHS:
        texts = {
            name: len(value)
            for name, value in header.fields.items()
            if isinstance(value, list) and value and isinstance(value[0], str)
        }
        metadata = _Read({**header.fields, **texts})
        told = get_gguf_config(metadata, header.names)
        return told, dict.fromkeys(name.removeprefix(f"{kind}.") for name in metadata.taken)
    with _described(header) as path:
        told = load_gguf_checkpoint(str(path), return_tensors=False)["config"]
    if told.get("vocab_size") == len(STAND_IN):
        told["vocab_size"] = len(header.fields[TOKENS])
    plain = kind.replace("-", "").replace("_", "")
    tables: dict[str, dict[str, Any]] = GGUF_CONFIG_MAPPING
    names = next((table for k, table in tables.items() if k.replace("_", "") == plain), {})
    return told, {name: there for name, there in names.items() if there is not None}


@contextmanager
def _described(header: GgufHeader) -> Iterator[Path]:
    """A small GGUF file with what this one says, but for the vocabulary and the weights.

    transformers makes configs of files only, and reads all that is in them, some times over.
    """
    long = {n for n, held in header.fields.items() if isinstance(held, list) and len(held) > LONG}
    spans = {n: span for n, span in header.spans.items() if n not in long | {TOKENS}}
    with header.path.open("rb") as file:
        fields = []
        for start, end in spans.values():
            file.seek(start)
            fields.append(file.read(end - start))
    if TOKENS in header.fields:
        packed = b"".join(_text(token) for token in STAND_IN)
        fields.append(_text(TOKENS) + struct.pack("<IIQ", 9, 8, len(STAND_IN)) + packed)
    # One number for each tensor, all of them the same one: only names are looked at.
    tensors = [_text(name) + struct.pack("<IQIQ", 1, 1, 0, 0) for name in header.names]
    front = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(fields))
    raw = front + b"".join([*fields, *tensors])
    align = header.fields.get("general.alignment", ALIGNMENT)
    with tempfile.TemporaryDirectory(prefix="mwanda-gguf-") as folder:
        path = Path(folder) / "described.gguf"
        path.write_bytes(raw + bytes(-len(raw) % align + align))
        yield path


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw
