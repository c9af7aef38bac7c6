"""Made-up models and text of any size, for benchmarks of time and memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mwanda.model.stored.shards import plan_shards
from mwanda.model.stored.writer import ShardWriter
from mwanda.system.device import HOST

VOCABULARY = 512
SPECIAL = 90
"""Ids below are single characters, the others are ``w<id>``."""

TAGS = (
    "eu", "de", "fr", "es", "pt", "it", "nl", "sv", "da", "nb", "fi", "et", "lv", "lt", "pl",
    "cs", "sk", "sl", "hr", "sr", "bg", "mk", "ru", "uk", "be", "ro", "hu", "el", "sq", "tr",
    "az", "kk", "uz", "ky", "tg", "hy", "ka", "he", "ar", "fa", "ur", "ps", "hi", "mr", "ne",
    "bn", "as", "gu", "pa", "or", "ta", "te", "kn", "ml", "si", "th", "lo", "km", "my", "vi",
    "id", "ms", "sw", "yo",
)  # fmt: skip
"""Sixty-four tags for made-up text. No English: what looks copied from it would be dropped."""


def _sizes(blocks: int, width: int, dtype: str) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": width * 11 // 4,
        "num_hidden_layers": blocks,
        "num_attention_heads": max(1, width // 128),
        "num_key_value_heads": max(1, width // 128),
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
        "dtype": dtype,
    }


def llama(blocks: int, width: int, dtype: str, **changed: Any) -> Any:
    """The config of a small-vocabulary Llama; ``changed`` goes over its fields."""
    from transformers import LlamaConfig

    fields = _sizes(blocks, width, dtype) | changed
    return LlamaConfig(**fields, architectures=["LlamaForCausalLM"])


def mixture(blocks: int, width: int, dtype: str, experts: int) -> Any:
    """The config of a Qwen3-MoE of so many experts in every block, eight to a token."""
    from transformers import Qwen3MoeConfig

    return Qwen3MoeConfig(
        **_sizes(blocks, width, dtype),
        moe_intermediate_size=width // 2,
        num_experts=experts,
        num_experts_per_tok=8,
        architectures=["Qwen3MoeForCausalLM"],
    )


def make_model(
    folder: Path, config: Any, *, shard: int = 2_000_000_000, device: torch.device = HOST
) -> int:
    """Write random weights for ``config``, tensor by tensor; returns their bytes.

    Args:
        folder: must not exist.
        config: of a Llama or a mixture; its tokenizer knows the first 512 ids of the vocabulary.
        shard: most bytes of one file.
        device: that draws the numbers: an accelerator does in seconds what takes a CPU minutes.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    folder.mkdir(parents=True)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    shapes = [
        (stored, config.dtype, shape)
        for name, p in model.named_parameters()
        for stored, shape in _stored(name, tuple(p.shape))
    ]
    generator = torch.Generator().manual_seed(0) if device == HOST else None
    with ShardWriter(folder, plan_shards(shapes, shard)) as writer:
        for name, kind, shape in shapes:
            made = torch.ones(1).expand(shape)
            if len(shape) > 1:
                made = torch.empty(shape, device=device).normal_(std=0.02, generator=generator)
            writer.write(name, made.to(kind))
    config.save_pretrained(folder)
    words = {chr(33 + k) if k < SPECIAL else f"w{k}": k for k in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="!"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="!").save_pretrained(folder)
    return sum(kind.itemsize * torch.Size(shape).numel() for _, kind, shape in shapes)


def _stored(name: str, shape: tuple[int, ...]) -> list[tuple[str, tuple[int, ...]]]:
    """How a parameter is stored: experts one by one."""
    if len(shape) < 3:
        return [(name, shape)]
    path, _, leaf = name.rpartition(".")
    leaves = ("gate_proj", "up_proj") if leaf == "gate_up_proj" else (leaf,)
    matrix = (shape[1] // len(leaves), shape[2])
    return [(f"{path}.{k}.{part}.weight", matrix) for k in range(shape[0]) for part in leaves]


def write_text(folder: Path, tags: Sequence[str], tokens: int) -> None:
    """One file a language, of words the made-up tokenizer knows: at least so many tokens each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, tag in enumerate(tags):
        lines = [
            " ".join(
                f"w{SPECIAL + (7 * line + (3 + line // 60) * k + number) % 420}" for k in range(200)
            )
            for line in range(tokens // 200 + 2)
        ]
        (folder / f"{tag}.txt").write_text("\n".join(lines))
