"""mwanda: prune a multilingual language model in one shot without losing its languages."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mwanda.errors import DataError, GateError, InputError, MwandaError
    from mwanda.evaluation.gate import Gate
    from mwanda.evaluation.parallel import read_parallel
    from mwanda.evaluation.results import Comparison, Evaluation
    from mwanda.jobs.diff import diff
    from mwanda.jobs.evaluate import evaluate, read_texts
    from mwanda.jobs.gguf_check import check_gguf
    from mwanda.jobs.load_packed import load_packed
    from mwanda.jobs.mask_files import apply_masks, extract_masks
    from mwanda.jobs.pack import pack, unpack
    from mwanda.jobs.plan import plan
    from mwanda.jobs.prune import PruneResult, prune
    from mwanda.jobs.push import push
    from mwanda.jobs.quantise import quantise
    from mwanda.jobs.search import search_sparsity
    from mwanda.jobs.stats import collect_statistics, merge_statistics
    from mwanda.jobs.stats_show import show_statistics
    from mwanda.jobs.tasks import evaluate_tasks
    from mwanda.jobs.translate import translate
    from mwanda.jobs.verify import verify
    from mwanda.kernel.linear import MaskedLinear, mask_linears
    from mwanda.options import RunOptions
    from mwanda.recipe import Recipe
    from mwanda.report.study.write import write_report
    from mwanda.study.launch import start_study
    from mwanda.zeros import keep_zeros
    from mwanda.zeros_callback import KeepZeros

__all__ = [
    "Comparison",
    "DataError",
    "Evaluation",
    "Gate",
    "GateError",
    "InputError",
    "KeepZeros",
    "MaskedLinear",
    "MwandaError",
    "PruneResult",
    "Recipe",
    "RunOptions",
    "apply_masks",
    "check_gguf",
    "collect_statistics",
    "diff",
    "evaluate",
    "evaluate_tasks",
    "extract_masks",
    "keep_zeros",
    "load_packed",
    "mask_linears",
    "merge_statistics",
    "pack",
    "plan",
    "prune",
    "push",
    "quantise",
    "read_parallel",
    "read_texts",
    "search_sparsity",
    "show_statistics",
    "start_study",
    "translate",
    "unpack",
    "verify",
    "write_report",
]

_PLACES = {
    "Comparison": "evaluation.results",
    "DataError": "errors",
    "Evaluation": "evaluation.results",
    "Gate": "evaluation.gate",
    "GateError": "errors",
    "InputError": "errors",
    "KeepZeros": "zeros_callback",
    "MaskedLinear": "kernel.linear",
    "MwandaError": "errors",
    "PruneResult": "jobs.prune",
    "Recipe": "recipe",
    "RunOptions": "options",
    "apply_masks": "jobs.mask_files",
    "check_gguf": "jobs.gguf_check",
    "collect_statistics": "jobs.stats",
    "diff": "jobs.diff",
    "evaluate": "jobs.evaluate",
    "evaluate_tasks": "jobs.tasks",
    "extract_masks": "jobs.mask_files",
    "keep_zeros": "zeros",
    "load_packed": "jobs.load_packed",
    "mask_linears": "kernel.linear",
    "merge_statistics": "jobs.stats",
    "pack": "jobs.pack",
    "plan": "jobs.plan",
    "prune": "jobs.prune",
    "push": "jobs.push",
    "quantise": "jobs.quantise",
    "read_parallel": "evaluation.parallel",
    "read_texts": "jobs.evaluate",
    "search_sparsity": "jobs.search",
    "show_statistics": "jobs.stats_show",
    "start_study": "study.launch",
    "translate": "jobs.translate",
    "unpack": "jobs.pack",
    "verify": "jobs.verify",
    "write_report": "report.study.write",
}


def __getattr__(name: str) -> Any:
    # Late, so that an error in a path or a recipe is reported without importing torch.
    if name not in _PLACES:
        raise AttributeError(f"module 'mwanda' has no attribute {name!r}")
    return getattr(import_module(f"mwanda.{_PLACES[name]}"), name)
