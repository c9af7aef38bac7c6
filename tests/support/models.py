"""Tiny random models of every family, with a tokenizer, made in code: no download, no fixture.

They are small enough to prune in a second and random enough that a wrong sum shows: the weights
are drawn wide, the norms and biases are not all alike, and no two sizes that could be confused
are equal (``head_dim * heads`` differs from ``hidden`` where the family allows it).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    CohereConfig,
    Gemma3TextConfig,
    GenerationConfig,
    GPT2Config,
    LlamaConfig,
    OlmoConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from tests.support.dense import DENSE_FAMILIES, dense_config
from tests.support.experts import EXPERT_FAMILIES, expert_config

FAMILIES: tuple[str, ...] = ("llama", "qwen3", "gemma3", "cohere", "bloom", "olmo", "gpt2")

PAD, BOS, EOS = 0, 1, 2
VOCABULARY = 300
CONTEXT = 128
HIDDEN = 48
INTERMEDIATE = 80
HEADS = 4
KEY_VALUE_HEADS = 2
HEAD_DIM = 16
SLIDING_WINDOW = 8

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "<{{ message['role'] }}>{{ message['content'] }}\n"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def tiny_model(
    family: str,
    folder: Path,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    tied: bool | None = None,
    layers: int = 3,
    max_shard_size: str = "5GB",
    bos: bool = True,
) -> Path:
    """Save a tiny model of ``family`` with its tokenizer in ``folder``; return the folder.

    Args:
        tied: whether the head shares the embeddings' weights; None: as the family does.
        bos: whether the tokenizer starts a text with the begin-of-sequence token.
    """
    config = tiny_config(family, tied=tied, layers=layers)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
        redraw(model, seed)
    model.to(dtype)
    model.generation_config = GenerationConfig(
        bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD, max_new_tokens=16
    )
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    tiny_tokenizer(bos=bos).save_pretrained(folder)
    return folder


def tiny_config(family: str, *, tied: bool | None = None, layers: int = 3) -> PreTrainedConfig:
    """The configuration of a tiny model of ``family``."""
    common: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
    }
    if tied is not None:
        common["tie_word_embeddings"] = tied
    rotary: dict[str, Any] = {
        **common,
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "max_position_embeddings": CONTEXT,
    }
    grouped: dict[str, Any] = {**rotary, "num_key_value_heads": KEY_VALUE_HEADS}
    if family in EXPERT_FAMILIES:
        return expert_config(family, grouped)
    if family in DENSE_FAMILIES:
        return dense_config(family, grouped)
    match family:
        case "llama":
            return LlamaConfig(**grouped)
        case "qwen3":
            return Qwen3Config(**grouped, head_dim=HEAD_DIM)
        case "gemma3":
            return Gemma3TextConfig(
                **grouped,
                head_dim=HEAD_DIM,
                query_pre_attn_scalar=HEAD_DIM,
                sliding_window=SLIDING_WINDOW,
                layer_types=[
                    "full_attention" if index % 2 else "sliding_attention"
                    for index in range(layers)
                ],
            )
        case "cohere":
            return CohereConfig(**grouped)
        case "olmo":
            return OlmoConfig(**rotary)
        case "bloom":
            return BloomConfig(**common, hidden_size=HIDDEN, n_layer=layers, n_head=HEADS)
        case "gpt2":
            return GPT2Config(
                **common,
                n_embd=HIDDEN,
                n_layer=layers,
                n_head=HEADS,
                n_inner=INTERMEDIATE,
                n_positions=CONTEXT,
            )
    raise ValueError(f"unknown family {family!r}; choose one of {', '.join(FAMILIES)}")


def redraw(model: PreTrainedModel, seed: int) -> None:
    """Draw matrices with a standard deviation of 0.15; move norms and biases a little."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim < 2 or "norm" in name:
                parameter.add_(noise, alpha=0.1)
            else:
                parameter.copy_(noise * 0.15)


def tiny_tokenizer(*, bos: bool = True) -> PreTrainedTokenizerFast:
    """A token per byte, and pad, bos and eos: any text goes in and comes out whole."""
    specials = {"<pad>": PAD, "<bos>": BOS, "<eos>": EOS}
    characters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = specials | {c: len(specials) + i for i, c in enumerate(characters)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in specials])
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A",
            pair="<bos> $A <bos>:1 $B:1",
            special_tokens=[("<bos>", BOS)],
        )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast
