"""What will be done: a recipe without holes. Every default is filled in here and nowhere else."""

from __future__ import annotations

from typing import Any

from mwanda.methods.allocation.comparison import Probe
from mwanda.methods.kinds import Allocation, defaults_of, options_of
from mwanda.methods.registry import find_allocation
from mwanda.pruning.recipe.asked import Level, Mode, Recipe
from mwanda.pruning.recipe.method_choice import Method
from mwanda.text.window_sizes import NO_BACKGROUND

DEFAULT_SPARSITY = 0.5
DENSE_FROM, DENSE_TO, DENSE_TO_UPDATED = 0.35, 0.55, 0.45
"""Sparsities between which one pass was measured no worse than two on the whole, the last with a
reconstruction: see docs/results.md."""


class ResolvedRecipe(Recipe):
    """A recipe whose every field is known, but for what only text can tell: languages of None are
    all that it has."""

    sparsity: float
    background: str
    allocation: Method
    allocation_level: Level
    mode: Mode

    @property
    def asked(self) -> Recipe:
        """What was asked for, its holes open again."""
        return Recipe.model_validate(self.model_dump(exclude_unset=True))

    def allocation_row(self) -> Allocation:
        """The registry's row of the allocation."""
        return find_allocation(self.allocation.name)

    @property
    def refuses_background(self) -> bool:
        """Whether it was asked to do without, also where windows or statistics have one."""
        return self.background == NO_BACKGROUND and "background" in self.model_fields_set

    @property
    def needs_text(self) -> bool:
        """Whether anything in this recipe looks at calibration text, or learns from it."""
        looks = bool(self.linear_needs) or self.allocation_row().needs_text
        return self.sparsity > 0 and (looks or self.recover is not None)

    @property
    def probe(self) -> Probe | None:
        """What the allocation wants compared; None where it compares nothing."""
        row = self.allocation_row()
        if row.probe is None or not self.sparsity:
            return None
        return row.probe(self.sparsity, **options_of(row.probe, self.allocation.options))


def resolve(recipe: Recipe, *, saved: bool = False) -> ResolvedRecipe:
    """The recipe with every default filled in; one that was resolved before is resolved anew.

    Args:
        saved: whether it goes with saved statistics, which are dense ones and of blocks that cannot
            be run: so are the defaults.
    """
    if isinstance(recipe, ResolvedRecipe):
        recipe = recipe.asked
    recipe.check()
    pattern, sparsity = recipe.pattern_row(), recipe.sparsity
    if sparsity is None or pattern.fixed is not None:
        sparsity = DEFAULT_SPARSITY if pattern.fixed is None else pattern.fixed
    allocation = recipe.allocation
    if allocation is None:
        # Magnitude asks for no text, so its default allocation must not either.
        free = pattern.fixed is None and bool(recipe.linear_needs) and sparsity > 0
        allocation = Method(name=default_allocation(saved=saved) if free else "uniform")
    row, update = find_allocation(allocation.name), recipe.reconstruction_row()
    dense_to = DENSE_TO if update is None else DENSE_TO_UPDATED
    dense = saved or not sparsity or DENSE_FROM <= sparsity <= dense_to
    filled: dict[str, Any] = {
        "sparsity": sparsity,
        "mode": recipe.mode or ("dense" if dense else "sequential"),
        "allocation_level": recipe.allocation_level or ("block" if row.probe is None else "role"),
        "background": recipe.background or NO_BACKGROUND,
        "criterion": _with_defaults(recipe.criterion_row(), recipe.criterion),
        "allocation": _with_defaults(row, allocation),
    }
    if update is not None and recipe.reconstruction is not None:
        filled["reconstruction"] = _with_defaults(update, recipe.reconstruction)
    return ResolvedRecipe.model_construct(recipe.model_fields_set, **dict(recipe) | filled)


def default_allocation(*, saved: bool) -> str:
    """What sets the sparsities where the criterion needs text and the pattern leaves them open;
    from saved statistics no block can be run."""
    return "cwl" if saved else "measured"


def _with_defaults(row: Any, method: Method) -> Method:
    return Method(name=row.name, options=defaults_of(row) | method.options)
