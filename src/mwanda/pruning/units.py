"""What has a sparsity of its own: blocks, roles or linears; and what is run to compare them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mwanda.methods.allocation.measured import Probe
from mwanda.methods.kinds import options_of
from mwanda.methods.recipe.asked import Recipe
from mwanda.methods.registry import find_allocation
from mwanda.model.run.structure import Block, Linear, Structure

__all__ = ["Units", "probe_of", "probe_runs", "probed_tokens", "probed_weights", "units_of"]

Units = tuple[tuple[Linear, ...], ...]


def units_of(block: Block, recipe: Recipe) -> Units:
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


def probe_of(recipe: Recipe) -> Probe | None:
    """What the allocation wants compared; None where it compares nothing."""
    if recipe.allocation is None or not recipe.sparsity:
        return None
    row = find_allocation(recipe.allocation.name)
    if row.probe is None:
        return None
    return row.probe(recipe.sparsity, **options_of(row.probe, recipe.allocation.options))


def probe_runs(chosen: Structure, recipe: Recipe) -> int:
    """How often a masked block is run on the probed windows, over all blocks."""
    probe = probe_of(recipe)
    if probe is None:
        return 0
    masked = sum(sparsity > 0 for sparsity in probe.compared)
    return masked * sum(len(units_of(block, recipe)) for block in chosen.blocks)


def probed_weights(chosen: Structure, recipe: Recipe) -> int:
    """Most weights that are masked at once to be compared."""
    if probe_of(recipe) is None:
        return 0
    units = [unit for block in chosen.blocks for unit in units_of(block, recipe)]
    return max(sum(linear.size for linear in unit) for unit in units)


def probed_tokens(recipe: Recipe, shapes: Iterable[Sequence[int]]) -> int:
    """Tokens of the probed windows, from each language's windows and their length."""
    probe = probe_of(recipe)
    if probe is None:
        return 0
    return sum(min(count, probe.windows or count) * length for count, length in shapes)
