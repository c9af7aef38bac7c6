"""mwanda: prune a multilingual language model in one shot without losing its languages."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mwanda.errors import DataError, GateError, InputError, MwandaError
    from mwanda.evaluation.results import Comparison, Evaluation
    from mwanda.jobs.evaluate import evaluate, read_texts
    from mwanda.jobs.plan import plan
    from mwanda.jobs.prune import PruneResult, prune
    from mwanda.jobs.verify import verify
    from mwanda.options import RunOptions
    from mwanda.recipe import Recipe

__all__ = [
    "Comparison",
    "DataError",
    "Evaluation",
    "GateError",
    "InputError",
    "MwandaError",
    "PruneResult",
    "Recipe",
    "RunOptions",
    "evaluate",
    "plan",
    "prune",
    "read_texts",
    "verify",
]

_PLACES = {
    "Comparison": "evaluation.results",
    "DataError": "errors",
    "Evaluation": "evaluation.results",
    "GateError": "errors",
    "InputError": "errors",
    "MwandaError": "errors",
    "PruneResult": "jobs.prune",
    "Recipe": "recipe",
    "RunOptions": "options",
    "evaluate": "jobs.evaluate",
    "plan": "jobs.plan",
    "prune": "jobs.prune",
    "read_texts": "jobs.evaluate",
    "verify": "jobs.verify",
}


def __getattr__(name: str) -> Any:
    # Late, so that an error in a path or a recipe is reported without importing torch.
    if name not in _PLACES:
        raise AttributeError(f"module 'mwanda' has no attribute {name!r}")
    return getattr(import_module(f"mwanda.{_PLACES[name]}"), name)
