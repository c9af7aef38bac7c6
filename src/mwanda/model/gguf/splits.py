"""How byte-level text is cut before its merges, by the name that a GGUF file has for it.

The names and expressions are llama.cpp's (``llm_tokenizer_bpe``), which writes these files. What
is not here is unknown, or differs between llama.cpp and the models' own tokenizers.
"""

from __future__ import annotations

from typing import Any

PLAIN = {
    "default", "gpt-2", "granite-docling", "jais", "mpt", "olmo", "phi-2", "trillion",
}  # fmt: skip
"""As GPT-2 does it."""

DIGITS = {
    "codeshell", "command-r", "exaone", "mellum2", "minerva-7b", "refact", "smollm", "starcoder",
}  # fmt: skip
"""Digits one by one, and what is between them as GPT-2 does it."""

WORDS = r" ?[^(\s|.,!?…。，、।۔،)]+"
DIGIT = r"\p{N}"
OTHERS: dict[str, tuple[str, ...]] = {
    "bloom": (WORDS,),
    "gpt3-finnish": (WORDS,),
    "poro-chat": (WORDS,),
    "viking": (WORDS, DIGIT),
    "deepseek-coder": (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", DIGIT),
    "seed-coder": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}"
        r"| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
}
"""Expressions, one after the other."""

SAME = {"stablelm2": "qwen2"}
"""Names for what another name means as well."""

COMPOSED = {"deepseek-r1-qwen", "qwen2", "qwen35"}
"""Text is brought into Unicode's form C first."""

WHOLE_WORDS = {
    "falcon-h1", "falcon3", "jina-v5-nano", "lfm2", "llama-bpe", "llama-v3", "llama3", "midm-2.0",
    "pixtral", "tekken",
}  # fmt: skip
"""A word that is in the vocabulary is a token, whatever the merges are."""


def split_words(made: Any, name: str) -> bool:
    """Let a tokenizer cut its text as ``name`` says; False where that name is unknown."""
    from tokenizers import Regex, normalizers
    from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    known = GGUF_PRE_TOKENIZER_SPLITS.get(SAME.get(name, name))
    parts = (DIGIT,) if name in DIGITS else OTHERS.get(name) or (known and (known,))
    if parts:
        cuts = [Split(Regex(part), behavior="isolated") for part in parts]
        plain = ByteLevel(add_prefix_space=False, use_regex=name in DIGITS)
        made.pre_tokenizer = Sequence([*cuts, plain])
    if name in COMPOSED:
        made.normalizer = normalizers.NFC()
    if name in WHOLE_WORDS:
        made.model.ignore_merges = True
    return bool(parts) or name in PLAIN
