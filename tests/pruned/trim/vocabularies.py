"""Small vocabularies of every kind, learnt from the bundled Declaration in six scripts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing

from mwanda.text.sources import open_source

KINDS = ("byte-fallback", "byte-level", "unigram", "wordpiece")
SPECIAL = ["<pad>", "<bos>", "<eos>", "<unk>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
RESERVED = [f"<unused{number}>" for number in range(9)]
LANGUAGES = ("de", "ru", "hi", "zh", "ar", "ja")
SIZE = 1500


def texts(*languages: str, every: int = 1) -> Iterator[str]:
    """Paragraphs of the Declaration, the first of so many."""
    source = open_source("bundled:udhr")
    for tag in languages:
        yield from (one.text for n, one in enumerate(source.documents(tag)) if n % every == 0)


def learn(kind: str) -> Tokenizer:
    """A tokenizer of this kind."""
    first = [*SPECIAL, *RESERVED]
    if kind == "byte-level":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=SIZE, special_tokens=first, initial_alphabet=alphabet, show_progress=False
        )
    elif kind == "byte-fallback":
        made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        made.normalizer = normalizers.Replace(" ", "▁")
        made.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
        made.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
        trainer = trainers.BpeTrainer(
            vocab_size=SIZE, special_tokens=[*first, *BYTES], show_progress=False,
            limit_alphabet=600,
        )  # fmt: skip
    elif kind == "unigram":
        made = Tokenizer(models.Unigram())
        made.normalizer = normalizers.NFKC()
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=SIZE, special_tokens=first, unk_token="<unk>", show_progress=False
        )
    else:
        made = Tokenizer(models.WordPiece(unk_token="<unk>"))
        made.normalizer = normalizers.NFC()
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        made.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(
            vocab_size=SIZE, special_tokens=first, show_progress=False
        )
    made.train_from_iterator(texts(*LANGUAGES, every=2), trainer)
    made.post_processor = TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos>:1 $B:1", special_tokens=[("<bos>", 1)]
    )
    told = json.loads(made.to_str())
    told["added_tokens"] = [one for one in told["added_tokens"] if one["content"] not in BYTES]
    return Tokenizer.from_str(json.dumps(told))


def save(tokenizer: Tokenizer, folder: Path, **more: Any) -> Path:
    """Write a tokenizer as a model folder has it."""
    from transformers import PreTrainedTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>",
        unk_token="<unk>", **more,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def split(told: dict[str, Any], text: str) -> list[int]:
    """The ids of a text by a ``tokenizer.json``."""
    found: list[int] = (
        Tokenizer.from_str(json.dumps(told)).encode(text, add_special_tokens=False).ids
    )
    return found
