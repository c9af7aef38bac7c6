"""Families that the tests prove, each by a tiny random model against the plain forward.

This is a list of evidence and not of permissions: nothing in the code asks it. Any causal decoder
whose structure is recognised is pruned the same way.
"""

from __future__ import annotations

__all__ = ["PROVEN", "proven_families"]

PROVEN: dict[str, str] = {
    "llama": "Llama and what shares its code",
    "qwen3": "Qwen 3, dense",
    "gemma3_text": "Gemma 3, text",
    "cohere": "Cohere Command R and Aya",
    "bloom": "BLOOM, alibi and packed query-key-value",
    "olmo": "OLMo",
    "gpt2": "GPT-2, transposed linears",
    "mixtral": "Mixtral, experts stored one by one and fused in memory",
    "qwen3_moe": "Qwen 3 mixture of experts",
    "olmoe": "OLMoE",
    "granitemoe": "Granite mixture of experts, experts stored fused",
}


def proven_families() -> list[dict[str, str]]:
    """One row a family: its ``model_type`` and a note."""
    rows = [{"name": name, "note": note, "proof": "tests"} for name, note in PROVEN.items()]
    other = {
        "name": "any other decoder that transformers can run",
        "note": "pruned when its list of blocks is recognised, else refused with the reason",
        "proof": "none",
    }
    return [*rows, other]
