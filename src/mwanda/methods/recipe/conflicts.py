"""Fields of a recipe that are each fine and cannot be had together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the other way round at run time
    from mwanda.methods.recipe.asked import Recipe

__all__ = ["contradictions"]


def contradictions(recipe: Recipe) -> list[str]:
    """What in it cannot be had together, one line each; empty where nothing is amiss."""
    problems = []
    pattern = recipe.pattern_row()
    if pattern.fixed is not None:
        if recipe.sparsity is not None and abs(recipe.sparsity - pattern.fixed) > 1e-9:
            problems.append(
                f"sparsity: expected {pattern.fixed:g}, the only one of pattern {recipe.pattern}"
                f", found {recipe.sparsity:g}; leave sparsity out or use pattern unstructured"
            )
        if recipe.allocation is not None and recipe.allocation.name != "uniform":
            problems.append(
                f"allocation: expected uniform with pattern {recipe.pattern}, which fixes every "
                f"linear's sparsity, found {recipe.allocation.name}; leave it out"
            )
    row = recipe.reconstruction_row()
    if row is not None and row.prune is not None and not pattern.rowwise:
        problems.append(
            f"reconstruction: expected one that takes the criterion's mask with pattern "
            f"{recipe.pattern}, found {row.name}, which chooses its own; use pattern unstructured"
        )
    if recipe.skip_first_tokens >= recipe.window_length:
        problems.append(
            f"skip_first_tokens: expected fewer than the {recipe.window_length} tokens of a "
            f"window, found {recipe.skip_first_tokens}"
        )
    if recipe.languages is not None:
        stray = sorted(set(recipe.language_weights) - set(recipe.languages))
        if stray:
            problems.append(
                f"language_weights: expected languages among {', '.join(recipe.languages)}"
                f", found {', '.join(stray)}"
            )
        if recipe.language_weights and not any(
            recipe.language_weights.get(tag, 1.0) for tag in recipe.languages
        ):
            problems.append("language_weights: expected a weight above 0, found all 0")
    return problems
