"""Sequential pruning, written out in float64 with nothing of mwanda's.

Slow on purpose: for every block the whole model runs over every window, one at a time, and the
weights pruned so far are zeros in it. What it gives is what the pipeline must give.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

Windows = Mapping[str, torch.Tensor]
Weights = Mapping[str, float]


@dataclass(frozen=True)
class Inputs:
    """Of one linear: language -> mean square, share of active tokens and of those above 0, by
    feature."""

    weights: dict[str, float]
    mean_square: dict[str, torch.Tensor]
    active: dict[str, torch.Tensor]
    positive: dict[str, torch.Tensor]


Score = Callable[[torch.Tensor, Inputs], torch.Tensor]
"""Weight ``[out, in]`` and what went into it -> scores."""
Keep = Callable[[torch.Tensor], torch.Tensor]
"""Scores -> True where a weight stays."""


@dataclass(frozen=True)
class Pruned:
    """Linear -> keep mask ``[out, in]``; and how near a tie the closest decision was.

    ``margin`` is the smallest relative gap between the last score that goes and the first that
    stays, over all rows or groups.
    """

    masks: dict[str, torch.Tensor]
    margin: float


def wanda(weight: torch.Tensor, inputs: Inputs) -> torch.Tensor:
    pooled = sum(w * inputs.mean_square[tag] for tag, w in inputs.weights.items())
    return weight.abs() * torch.sqrt(pooled)


def m_wanda(
    ratio: float, activity: float, *, sign: bool = False, normalised: bool = False
) -> Score:
    """``|W| · (n̄ + ratio · variance of n / n̄) · (1 + activity · p)``; n over its own mean over
    features if ``normalised``, p of positive inputs if ``sign``."""

    def score(weight: torch.Tensor, inputs: Inputs) -> torch.Tensor:
        share = inputs.weights
        norms = {tag: torch.sqrt(square) for tag, square in inputs.mean_square.items()}
        if normalised:
            norms = {tag: n / n.mean() for tag, n in norms.items()}
        pooled = torch.sqrt(sum(w * norms[tag] ** 2 for tag, w in share.items()))
        mean = sum(w * norms[tag] for tag, w in share.items())
        variance = sum(w * (norms[tag] - mean) ** 2 for tag, w in share.items())
        shares = inputs.positive if sign else inputs.active
        active = sum(w * shares[tag] for tag, w in share.items())
        return weight.abs() * (pooled + ratio * variance / pooled) * (1 + activity * active)

    return score


def rows(sparsity: float) -> Keep:
    """Of every row the lowest ``int(in · sparsity)`` go."""

    def keep(scores: torch.Tensor) -> torch.Tensor:
        mask = torch.ones_like(scores, dtype=torch.bool)
        for row, values in enumerate(scores.tolist()):
            order = sorted(range(len(values)), key=values.__getitem__)
            mask[row, order[: int(len(values) * sparsity)]] = False
        return mask

    return keep


def groups(stay: int, size: int) -> Keep:
    """Of every ``size`` consecutive columns the ``stay`` highest stay."""
    one = rows(1 - stay / size)

    def keep(scores: torch.Tensor) -> torch.Tensor:
        return one(scores.reshape(-1, size)).reshape(scores.shape)

    return keep


def prune(
    folder: Path,
    windows: Windows,
    weights: Weights,
    *,
    score: Score,
    keep: Keep,
    group: int = 0,
    forward: torch.dtype = torch.float64,
    skip: int = 0,
) -> Pruned:
    """Prune the model in ``folder`` block by block.

    Args:
        windows: language -> token ids ``[windows, length]``.
        weights: language -> weight, of any sum.
        group: columns that are compared with one another; 0 for a whole row.
        forward: for a family that cannot run in float64; the sums and scores still are.
        skip: first tokens of every window that count nowhere.
    """
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=forward).eval()
    total = sum(weights[tag] for tag in windows)
    share = {tag: weights[tag] / total for tag in windows}
    masks, margin = {}, float("inf")
    for block in blocks_of(model):
        names = [name for name, _ in linears_of(model) if name.startswith(f"{block}.")]
        for name, inputs in measure(model, names, windows, share, skip).items():
            weight = matrix(model.get_submodule(name))
            scores = score(weight, inputs)
            masks[name] = keep(scores)
            margin = min(margin, margin_of(scores, masks[name], group or scores.shape[1]))
            # Every linear of a block is measured before any is pruned.
            weight *= masks[name]
    return Pruned(masks, margin)


def blocks_of(model: nn.Module) -> list[str]:
    """Paths of the decoder's blocks."""
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList):
            return [f"{path}.{index}" for index in range(len(module))]
    raise AssertionError("no blocks")


def linears_of(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Path and module of every linear inside the blocks."""
    inside = tuple(f"{block}." for block in blocks_of(model))
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and name.startswith(inside)
    ]


def matrix(linear: Any) -> torch.Tensor:
    """The weight as ``[out, in]``, to be changed in place."""
    weight = linear.weight.detach()
    return weight.T if isinstance(linear, Conv1D) else weight


@torch.no_grad()
def measure(
    model: Any, names: list[str], windows: Windows, share: dict[str, float], skip: int = 0
) -> dict[str, Inputs]:
    """What goes into the named linears, by hooks on the model's ordinary forward."""
    seen: dict[str, dict[str, list[torch.Tensor]]] = {n: {tag: [] for tag in share} for n in names}
    for tag, ids in windows.items():
        for window in ids:
            handles = []
            for name in names:

                def note(_m: nn.Module, args: Any, _o: Any, to: Any = seen[name][tag]) -> None:
                    # One window at a time, so the rows are its tokens in order.
                    to.append(args[0].reshape(-1, args[0].shape[-1])[skip:].double())

                handles.append(model.get_submodule(name).register_forward_hook(note))
            model(window[None], use_cache=False)
            for handle in handles:
                handle.remove()
    found = {}
    for name in names:
        tokens = {tag: torch.cat(parts) for tag, parts in seen[name].items()}
        active = {tag: x.abs() > x.abs().mean(dim=1, keepdim=True) for tag, x in tokens.items()}
        found[name] = Inputs(
            share,
            {tag: (x**2).mean(dim=0) for tag, x in tokens.items()},
            {tag: x.double().mean(dim=0) for tag, x in active.items()},
            {tag: (x > 0).double().mean(dim=0) for tag, x in tokens.items()},
        )
    return found


def margin_of(scores: torch.Tensor, mask: torch.Tensor, group: int) -> float:
    scores, mask = scores.reshape(-1, group), mask.reshape(-1, group)
    goes = scores.masked_fill(mask, 0).amax(dim=1)
    stays = scores.masked_fill(~mask, float("inf")).amin(dim=1)
    return float(((stays - goes) / stays).min())
