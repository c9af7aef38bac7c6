"""A folder made of a GGUF file, as transformers before version 5 and SentencePiece read it too.

Version 5 writes rotary positions and the tokenizer's class under names that older ones do not know:
they would take a default base without a word, and refuse the tokenizer.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mwanda.model.gguf.header import GgufHeader

log = logging.getLogger("mwanda")

TOKENIZER_CLASS = "PreTrainedTokenizerFast"
"""What both call a tokenizer that ``tokenizer.json`` says all of."""

FILE = "tokenizer.model"
GGML = "tokenizer.ggml."
BPE, MARK = 2, "▁"

TRIED = (
    "The quick brown fox, 12 345.67 times -- isn't it?", "Ein Käfig voller Grüße; Straße 7b",
    "Habari ya asubuhi, watu wote wamezaliwa huru.", "हिन्दी में एक वाक्य। तमिल?",
    "ஒரு வாக்கியம், மற்றொன்று.", "বাংলা ভাষায় একটি বাক্য।", "日本語の文章です。中文也有。",
    "Привет, мир! Ще одне речення.", "هذه جملة عربية، وأخرى.", "ประโยคภาษาไทย", "한국어 문장입니다",
    "def f(x):\n\treturn  x ** 2  # 😀 ∑\n\n", "one  two   spaces", "a", "Ọjọ́ dára púpọ̀",
)  # fmt: skip
"""None begins with a space: where one is put before every text, transformers puts none before a
space, and SentencePiece does."""


def write_for_older(folder: Path) -> None:
    """Put into a folder's config and tokenizer config what older versions look for."""
    _change(folder / "config.json", lambda config: config | older_rotary(config))
    _change(
        folder / "tokenizer_config.json", lambda told: told | {"tokenizer_class": TOKENIZER_CLASS}
    )


def older_rotary(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config's rotary positions by their older names; nothing for a config without any."""
    rotary = config.get("rope_parameters") or {}
    nested = isinstance(rotary.get("full_attention"), dict)
    main = rotary["full_attention"] if nested else rotary
    found = {name: main[name] for name in ("rope_theta", "partial_rotary_factor") if name in main}
    if main.get("rope_type", "default") != "default":
        found["rope_scaling"] = {name: value for name, value in main.items() if name not in found}
    windowed = rotary.get("sliding_attention") if nested else None
    if windowed:
        found["rope_local_base_freq"] = windowed["rope_theta"]
    return found


def write_sentencepiece(header: GgufHeader, tokenizer: Any, folder: Path) -> bool:
    """Write ``tokenizer.model`` of a SentencePiece vocabulary beside ``tokenizer.json``; whether it
    was, and if not, the log says why.

    A GGUF file has every piece with its score and its type, and no more than that of
    SentencePiece's own settings. So what is made is tried on text against the tokenizer that is
    used here, and is written only where both cut it alike.

    Args:
        tokenizer: that of the file, as transformers has it.
    """
    if header.fields.get(f"{GGML}model") != "llama":
        return False
    try:
        from sentencepiece import SentencePieceProcessor

        made = _model(header)
        processor = SentencePieceProcessor(model_proto=made)
    except (ImportError, KeyError, RuntimeError, TypeError, ValueError) as error:
        log.info("%s: no %s is made of it: %s", header.path, FILE, error)
        return False
    for text in TRIED:
        if processor.encode(text) != tokenizer(text, add_special_tokens=False)["input_ids"]:
            log.info("%s: no %s is made of it: SentencePiece would cut text otherwise, such as %r",
                     header.path, FILE, text)  # fmt: skip
            return False
    (folder / FILE).write_bytes(made)
    return True


def _change(path: Path, made: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    told = made(json.loads(path.read_text(encoding="utf-8")))
    text = json.dumps(told, indent=2, ensure_ascii=False, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


def _model(header: GgufHeader) -> bytes:
    """SentencePiece's own record, out of what the file says."""
    from sentencepiece import sentencepiece_model_pb2

    fields = header.fields
    tokens, scores = fields[f"{GGML}tokens"], fields[f"{GGML}scores"]
    types = fields.get(f"{GGML}token_type") or [1] * len(tokens)
    model = sentencepiece_model_pb2.ModelProto()
    for token, score, kind in zip(tokens, scores, types, strict=True):
        # Runs of spaces stand in some files as they are, and in SentencePiece as its own mark.
        piece = token.replace(" ", MARK) if not token.strip(" ") else token
        model.pieces.add(piece=piece, score=score, type=kind)
    told = model.trainer_spec
    told.model_type, told.vocab_size = BPE, len(tokens)
    told.byte_fallback = 6 in types  # of the type of bytes
    for name, key in (("unk", "unknown"), ("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
        number = fields.get(f"{GGML}{key}_token_id")
        setattr(told, f"{name}_id", -1 if number is None else number)
    prefixed = not header.architecture.startswith("gemma")
    normaliser = model.normalizer_spec
    normaliser.name = "identity"
    normaliser.add_dummy_prefix = bool(fields.get(f"{GGML}add_space_prefix", prefixed))
    normaliser.remove_extra_whitespaces = False
    normaliser.escape_whitespaces = True
    return bytes(model.SerializeToString())
