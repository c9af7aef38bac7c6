"""Tiny mixtures of experts, and the oracle's part on them: a plain loop over routed tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    MixtralConfig,
    OlmoeConfig,
    PreTrainedConfig,
    Qwen3MoeConfig,
)

from tests.support import oracle

EXPERT_FAMILIES: tuple[str, ...] = ("mixtral", "qwen3_moe", "olmoe")

EXPERT_WIDTH = 40


def expert_config(family: str, common: dict[str, Any]) -> PreTrainedConfig:
    """The configuration of a tiny mixture; ``common`` is what a tiny decoder has anyway."""
    match family:
        case "mixtral":
            wide = {**common, "intermediate_size": EXPERT_WIDTH}
            return MixtralConfig(**wide, num_local_experts=4, num_experts_per_tok=2)
        case "qwen3_moe":
            return Qwen3MoeConfig(
                **common,
                head_dim=16,
                moe_intermediate_size=EXPERT_WIDTH,
                num_experts=6,
                num_experts_per_tok=2,
                norm_topk_prob=True,
                mlp_only_layers=[1],
            )
        case "olmoe":
            wide = {**common, "intermediate_size": EXPERT_WIDTH}
            return OlmoeConfig(**wide, num_experts=12, num_experts_per_tok=3, clip_qkv=2.0)
    raise ValueError(f"unknown family {family!r}")


def experts_of(model: nn.Module) -> dict[str, Any]:
    """Path of every experts module -> the module."""
    return {path: m for path, m in model.named_modules() if path.endswith(".experts")}


def expert_matrices(model: nn.Module) -> dict[str, torch.Tensor]:
    """Name -> view ``[out, in]`` of each expert's three matrices."""
    found = {}
    for path, module in experts_of(model).items():
        for number in range(module.gate_up_proj.shape[0]):
            both = module.gate_up_proj.detach()[number]
            half = both.shape[0] // 2
            found[f"{path}.{number}.gate_proj"] = both[:half]
            found[f"{path}.{number}.up_proj"] = both[half:]
            found[f"{path}.{number}.down_proj"] = module.down_proj.detach()[number]
    return found


@torch.no_grad()
def routed_inputs(
    model: Any, path: str, windows: dict[str, torch.Tensor], skip: int = 0
) -> dict[str, dict[str, torch.Tensor]]:
    """What enters each expert's matrices: name -> language -> ``[tokens, in]``, token by token.

    The router says where a token goes; what it was shown and what it chose is all that is taken
    from the forward. The first ``skip`` tokens of each window are left out.
    """
    parent = path.rpartition(".")[0]
    router, experts = model.get_submodule(f"{parent}.gate"), model.get_submodule(path)
    matrices = expert_matrices(model)
    found: dict[str, dict[str, list[torch.Tensor]]] = {}
    for tag, ids in windows.items():
        for window in ids:
            seen: list[Any] = []
            handle = router.register_forward_hook(
                lambda _m, args, output, to=seen: to.append((args[0], output[2]))
            )
            model(window[None], use_cache=False)
            handle.remove()
            hidden, chosen = seen[0]
            states = hidden.reshape(len(chosen), -1)[skip:]
            for state, numbers in zip(states, chosen[skip:].tolist(), strict=True):
                for number in numbers:
                    name = f"{path}.{number}"
                    gate = matrices[f"{name}.gate_proj"] @ state
                    up = matrices[f"{name}.up_proj"] @ state
                    for leaf, entered in (
                        ("gate_proj", state),
                        ("up_proj", state),
                        ("down_proj", experts.act_fn(gate) * up),
                    ):
                        to = found.setdefault(f"{name}.{leaf}", {})
                        to.setdefault(tag, []).append(entered)
    return {
        name: {tag: torch.stack(states) for tag, states in languages.items()}
        for name, languages in found.items()
    }


def prune(
    folder: Path,
    windows: oracle.Windows,
    weights: oracle.Weights,
    *,
    minimum: int = 1,
    skip: int = 0,
) -> oracle.Pruned:
    """Wanda at 50 %, block by block, in float64: :func:`oracle.prune` for a mixture of experts.

    An expert that saw fewer than ``minimum`` tokens is pruned by magnitude; a language none of
    whose tokens reached it is left out there.
    """
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float64, experts_implementation="eager"
    ).eval()
    keep = oracle.rows(0.5)
    masks: dict[str, torch.Tensor] = {}
    margin = float("inf")
    for block in oracle.blocks_of(model):
        inside = [name for name, _ in oracle.linears_of(model) if name.startswith(f"{block}.")]
        total = sum(weights[tag] for tag in windows)
        share = {tag: weights[tag] / total for tag in windows}
        scores = {
            name: oracle.wanda(oracle.matrix(model.get_submodule(name)), inputs)
            for name, inputs in oracle.measure(model, inside, windows, share, skip).items()
        }
        for path in experts_of(model):
            if not path.startswith(f"{block}."):
                continue
            seen = routed_inputs(model, path, dict(windows), skip)
            for name, weight in expert_matrices(model).items():
                if name.startswith(f"{path}."):
                    scores[name] = _score(weight, seen.get(name, {}), weights, minimum)
        matrices = expert_matrices(model)
        for name, values in scores.items():
            masks[name] = keep(values)
            margin = min(margin, oracle.margin_of(values, masks[name], values.shape[1]))
            weight = matrices.get(name)
            if weight is None:
                weight = oracle.matrix(model.get_submodule(name))
            weight *= masks[name]
    return oracle.Pruned(masks, margin)


def _score(
    weight: torch.Tensor, seen: dict[str, torch.Tensor], weights: oracle.Weights, minimum: int
) -> torch.Tensor:
    if sum(len(tokens) for tokens in seen.values()) < minimum:
        return weight.abs()
    total = sum(weights[tag] for tag in seen)
    pooled = sum(weights[tag] / total * (x**2).mean(dim=0) for tag, x in seen.items())
    return weight.abs() * torch.sqrt(pooled)
