"""How much of a known model is vocabulary, and what a trim by script would save.

``python benchmarks/vocabularies.py --tokenizers DIR`` counts parameters from the models' published
configs, without weights, and rows with the tokenizers in ``DIR``: a folder with a
``tokenizer.json`` for each name in ``MODELS``. Of a model that also sees, the text part is counted.
"""

from __future__ import annotations

from argparse import Namespace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from harness import Table, options_of, parsed, save
from mwanda.model.source import load_tokenizer
from mwanda.pruned.trim.choice import Choice, choose
from mwanda.pruned.trim.token_ids import structural
from mwanda.pruned.trim.vocabulary import Vocabulary
from mwanda.text.tokens import token_ids

SETS = ("de,fr,sw", "zh,ja,ko", "en,hi,bn,ta,te,gu")

NAMES = ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads",
         "num_key_value_heads", "head_dim", "vocab_size", "tie_word_embeddings")  # fmt: skip

MODELS: dict[str, tuple[str, str, tuple[Any, ...]]] = {
    "SmolLM2 135M": ("smollm2", "llama", (576, 30, 1536, 9, 3, 64, 49152, True)),
    "Gemma 3 270M": ("gemma3", "gemma3_text", (640, 18, 2048, 4, 1, 256, 262144, True)),
    "Gemma 3 1B": ("gemma3", "gemma3_text", (1152, 26, 6912, 4, 1, 256, 262144, True)),
    "Gemma 3 4B": ("gemma3", "gemma3_text", (2560, 34, 10240, 8, 4, 256, 262208, True)),
    "Gemma 3 12B": ("gemma3", "gemma3_text", (3840, 48, 15360, 16, 8, 256, 262208, True)),
    "Qwen3 0.6B": ("qwen3", "qwen3", (1024, 28, 3072, 16, 8, 128, 151936, True)),
    "Qwen3 4B": ("qwen3", "qwen3", (2560, 36, 9728, 32, 8, 128, 151936, True)),
    "Qwen3 8B": ("qwen3", "qwen3", (4096, 36, 12288, 32, 8, 128, 151936, False)),
    "Qwen3 32B": ("qwen3", "qwen3", (5120, 64, 25600, 64, 8, 128, 151936, False)),
    "Llama 3.2 3B": ("llama3", "llama", (3072, 28, 8192, 24, 8, 128, 128256, True)),
    "Llama 3.1 8B": ("llama3", "llama", (4096, 32, 14336, 32, 8, 128, 128256, False)),
}
"""Tokenizer, model type, and the fields of ``NAMES`` as the model's ``config.json`` has them."""


def parameters(kind: str, fields: tuple[Any, ...]) -> int:
    """Of the whole model; a head that is the embedding counts once."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    config = CONFIG_MAPPING[kind](**dict(zip(NAMES, fields, strict=True)))
    with torch.device("meta"):
        return sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())


@cache
def rows_kept(folder: Path, rows: int) -> dict[str, int]:
    """Languages -> rows that their scripts need of a table with so many."""
    tokenizer, vocabulary = load_tokenizer(folder), Vocabulary.read(folder)
    known = structural(folder, vocabulary, {}, partial(token_ids, tokenizer), rows)
    return {
        tags: len(choose(Choice.of(tags), vocabulary, known, tokenizer, rows).rows) for tags in SETS
    }


def measure(given: Namespace, name: str) -> dict[str, Any]:
    tokenizer, kind, fields = MODELS[name]
    width, rows, tied = fields[0], fields[6], fields[7]
    total, row = parameters(kind, fields), width * (1 if tied else 2)
    left = rows_kept(given.tokenizers / tokenizer, rows)
    return {
        "parameters": total, "rows": rows, "share": row * rows / total, "kept": left,
        "saved": {tags: row * (rows - count) / total for tags, count in left.items()},
    }  # fmt: skip


def main() -> None:
    parser = options_of(__doc__, "vocabularies")
    parser.add_argument("--tokenizers", type=Path, required=True)
    given = parsed(parser)
    found = {name: measure(given, name) for name in MODELS}
    rows = [
        [name, f"{one['parameters'] / 1e9:.2f}", f"{one['rows']:,}", f"{one['share']:.0%}",
         *(f"-{one['saved'][tags]:.1%}" for tags in SETS)]
        for name, one in found.items()
    ]  # fmt: skip
    header = ["model", "parameters, 10⁹", "rows", "share", *SETS]
    save(given.results, {"models": found}, tables=[Table(header, rows)])


if __name__ == "__main__":
    main()
