"""Wanda as its authors describe it (arXiv 2306.11695), on a plain transformers model in memory.

Block by block: one forward of every sequence, one at a time, gathers each linear's Σx² averaged
over sequences; every row's scores are sorted whole, in stable order, and the lowest go; a second
forward gives the pruned outputs that the next block is fed with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shared import Clock, arguments, opened, saved

if TYPE_CHECKING:
    import torch


def block_arguments(model: Any, ids: torch.Tensor) -> list[dict[str, Any]]:
    """What every block is given beside hidden states, captured from one whole forward.

    All sequences have one length, and models with two kinds of attention give their blocks
    different masks and rotary tables.
    """
    keywords: list[dict[str, Any]] = []

    def keep(_block: Any, _args: Any, given: dict[str, Any]) -> None:
        keywords.append({name: x for name, x in given.items() if name != "hidden_states"})

    hooks = [b.register_forward_pre_hook(keep, with_kwargs=True) for b in model.model.layers]
    model.model(input_ids=ids[:1], use_cache=False)
    for hook in hooks:
        hook.remove()
    return keywords


def main() -> None:
    clock, given = Clock(), arguments(__doc__)
    import torch

    model, ids = opened(clock, given)
    with torch.no_grad():
        prune(model, ids)
    saved(clock, given, model)


def prune(model: Any, ids: torch.Tensor) -> None:
    """Set the lower half of the scores of every row to zero, block by block."""
    import torch

    hidden = [model.model.embed_tokens(row) for row in ids.split(1)]
    keywords = block_arguments(model, ids)
    for block, arguments_of in zip(model.model.layers, keywords, strict=True):
        linears = [m for m in block.modules() if isinstance(m, torch.nn.Linear)]
        sums = {linear: torch.zeros(linear.in_features) for linear in linears}
        seen = dict.fromkeys(linears, 0)

        def gather(
            linear: torch.nn.Linear,
            args: tuple[torch.Tensor, ...],
            _output: Any,
            sums: dict[torch.nn.Linear, torch.Tensor] = sums,
            seen: dict[torch.nn.Linear, int] = seen,
        ) -> None:
            flat = args[0].reshape(-1, args[0].shape[-1]).t().float()
            sums[linear] *= seen[linear] / (seen[linear] + 1)
            seen[linear] += 1
            sums[linear] += torch.norm(flat, p=2, dim=1) ** 2 / seen[linear]

        hooks = [linear.register_forward_hook(gather) for linear in linears]
        for states in hidden:
            block(states, **arguments_of)
        for hook in hooks:
            hook.remove()
        for linear in linears:
            scores = linear.weight.abs() * torch.sqrt(sums[linear]).reshape(1, -1)
            order = torch.sort(scores, dim=-1, stable=True)[1]
            lowest = order[:, : linear.in_features // 2]
            pruned = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, lowest, True)
            linear.weight[pruned] = 0
        for number, states in enumerate(hidden):
            output = block(states, **arguments_of)
            hidden[number] = output[0] if isinstance(output, tuple) else output


if __name__ == "__main__":
    main()
