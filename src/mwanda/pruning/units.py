"""What has a sparsity of its own: blocks, roles or linears; and how much is run to compare them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mwanda.model.run.structure import Block, Linear, Structure
from mwanda.pruning.recipe.resolved import ResolvedRecipe

Units = tuple[tuple[Linear, ...], ...]


def units_of(block: Block, recipe: ResolvedRecipe) -> Units:
    """The linears of a block that have one sparsity in common, group by group."""
    if recipe.allocation_level == "linear":
        return tuple((linear,) for linear in block.linears)
    if recipe.allocation_level == "role":
        roles: dict[str, list[Linear]] = {}
        for linear in block.linears:
            roles.setdefault(_role(linear), []).append(linear)
        return tuple(tuple(linears) for linears in roles.values())
    return (block.linears,) if block.linears else ()


def _role(linear: Linear) -> str:
    """What a linear does in its block: that of an expert is the same as of all others there."""
    if linear.expert is None:
        return linear.name
    path, number = linear.expert
    return f"{path}.{linear.name.removeprefix(f'{path}.{number}.')}"


def probe_runs(block: Block, recipe: ResolvedRecipe) -> int:
    """How often a block is run masked on the probed windows."""
    probe = recipe.probe
    if probe is None:
        return 0
    return sum(sparsity > 0 for sparsity in probe.compared) * len(units_of(block, recipe))


def probed_weights(chosen: Structure, recipe: ResolvedRecipe) -> int:
    """Most weights that are masked at once to be compared."""
    if recipe.probe is None:
        return 0
    units = [unit for block in chosen.blocks for unit in units_of(block, recipe)]
    return max(sum(linear.size for linear in unit) for unit in units)


def probed_tokens(recipe: ResolvedRecipe, shapes: Iterable[Sequence[int]]) -> int:
    """Tokens of the probed windows, from each language's windows and their length."""
    probe = recipe.probe
    if probe is None:
        return 0
    return sum(min(count, probe.windows or count) * length for count, length in shapes)
