"""The kinds of method that :mod:`mwanda.methods.registry` has rows of, and their options.

A method's options are the keyword-only parameters of its functions, checked by name and type before
any work.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import torch

from mwanda.errors import InputError, nearest
from mwanda.methods.allocation.comparison import Curves, Probe
from mwanda.methods.input_statistics import InputStatistics, Need
from mwanda.methods.reconstruction.factor import Reconstructed

if TYPE_CHECKING:  # only to annotate with: at run time they would load torch
    Score = Callable[..., torch.Tensor]
    Measure = Callable[..., float]
    ProbeOf = Callable[..., Probe]
    Allocate = Callable[..., list[float]]
    Select = Callable[[torch.Tensor, float], torch.Tensor]
    Reconstruct = Callable[..., Reconstructed]

Signal = float | Curves
"""What an allocation sees of one block or linear: a number, or errors by language and sparsity."""


@dataclass(frozen=True)
class Method:
    """What a row of any kind says of itself, and the functions whose keyword-only parameters are
    its options."""

    name: str
    formula: str
    source: str
    cost: str = field(kw_only=True)
    when: str = field(kw_only=True)

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        names = ("score", "allocate", "measure", "probe", "reconstruct", "prune")
        found = (getattr(self, name, None) for name in names)
        return tuple(function for function in found if function is not None)


@dataclass(frozen=True)
class Criterion(Method):
    """``score(weight[out, in], statistics, **options) -> float32[out, in]``, higher = keep.

    The weight has any floating dtype; the statistics are those of the linear's inputs, by language.
    ``rowwise`` says that a row's scores depend on that row of the weight only, so that a large
    matrix can be scored in pieces. ``needs`` are those of the default options; a criterion whose
    options change them has ``find_needs(**options)``.
    """

    score: Score
    needs: tuple[Need, ...] = ()
    rowwise: bool = True
    find_needs: Callable[..., tuple[Need, ...]] | None = None

    def needs_of(self, options: Mapping[str, Any]) -> tuple[Need, ...]:
        """The statistics it looks at under these options, defaults where they name none."""
        if self.find_needs is None:
            return self.needs
        return self.find_needs(**options_of(self.find_needs, defaults_of(self) | dict(options)))


@dataclass(frozen=True)
class Allocation(Method):
    """``measure(weights, statistics, **options) -> float`` of one block (or linear), then
    ``allocate(signals, sizes, target, **options) -> sparsities``; no ``measure``, no signal.

    Weights are the block's matrices ``[out, in]``, statistics those of the inputs of each, and
    sizes the numbers of weights; the mean of the sparsities by size is the target, from 0 to 1.

    ``probe(target, **options) -> Probe`` instead of ``measure`` says at which sparsities, and on
    how much text, masked and dense outputs of the block are to be compared; the signals are then
    :class:`Curves`, and a block that no text reached gets the target. So do a block that is alone,
    and blocks that are alike, to the last bit. ``scratch`` is what ``measure`` holds beside the
    weights, in bytes a weight of one linear.
    """

    allocate: Allocate
    measure: Measure | None = None
    needs: tuple[Need, ...] = ()
    probe: ProbeOf | None = None
    scratch: int = 0

    @property
    def needs_text(self) -> bool:
        """Whether it looks at what text does in the unpruned model."""
        return bool(self.needs) or self.probe is not None


@dataclass(frozen=True)
class Pattern(Method):
    """``select(score, sparsity) -> bool[out, in]``, True = keep.

    ``group`` is M of an N:M pattern (columns must be divisible by it) and ``fixed`` the only
    sparsity it can have. ``rowwise`` says that a row is selected by its own scores only, so that a
    large matrix can be selected in pieces. ``removed(rows, columns, sparsity)`` is the number of
    weights that go from a matrix.
    """

    select: Select
    removed: Callable[[int, int, float], int]
    group: int = 1
    fixed: float | None = None
    rowwise: bool = True


@dataclass(frozen=True)
class Reconstruction(Method):
    """``reconstruct(weight, mask, gram, **options) -> Reconstructed``: new values for the weights
    that a mask keeps. One that chooses its own mask has
    ``prune(weight, gram, sparsity, keep, group, **options)`` too, which is then used, and no
    criterion: N:M are ``keep`` and ``group``, and without groups the sparsity, from 0 to 1, counts.

    The weight ``[out, in]`` has any floating dtype and is not changed; the mask is bool
    ``[out, in]``, True = keep; G, symmetric ``[in, in]``, is float32 or wider, which is what is
    computed in. The error ``(Z - W)·G·(Z - W)ᵀ`` falls below that of the mask alone, and a mask
    that keeps all changes nothing. Where they factor G they raise NotPositiveError, as
    ``factor.damped_cholesky`` does.
    ``operations(rows, columns, **options)`` counts its floating-point operations, and
    ``memory(rows, columns)`` the numbers, in the Gram matrix's dtype, that it holds at once, those
    of the Gram matrix and the weight included."""

    reconstruct: Reconstruct
    prune: Reconstruct | None = None
    operations: Callable[..., int] = field(kw_only=True)
    memory: Callable[[int, int], int] = field(kw_only=True)
    needs: tuple[Need, ...] = ("gram",)


def option_problems(kind: str, row: Method, options: Mapping[str, Any]) -> list[str]:
    """Every mistake in a method's options, one line each."""
    known, problems = option_types(row), []
    for name, value in options.items():
        label = f"{kind} {row.name}, option {name}"
        if name not in known:
            fix = nearest(name, known) if known else "it takes no options"
            problems.append(str(InputError(label, expected="a known option", fix=fix)))
        elif (wanted := _mismatch(known[name], value)) is not None:
            problems.append(str(InputError(label, expected=wanted, found=repr(value))))
    return problems


def option_types(row: Method) -> dict[str, Any]:
    """Every option of a method with its type."""
    found: dict[str, Any] = {}
    for function in row.functions:
        found |= _option_types(function)
    return found


def options_of(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that this function takes."""
    taken = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in taken}


def defaults_of(row: Method) -> dict[str, Any]:
    """Every option of a method with its default."""
    found: dict[str, Any] = {}
    for function in row.functions:
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                found[name] = parameter.default
    return found


def measure_block(
    row: Allocation,
    weights: Sequence[torch.Tensor],
    statistics: Sequence[InputStatistics],
    options: Mapping[str, Any],
) -> float:
    """One block's signal; 0 where the allocation needs none."""
    if row.measure is None:
        return 0.0
    return row.measure(weights, statistics, **options_of(row.measure, options))


def _option_types(function: Callable[..., Any]) -> dict[str, Any]:
    """Types of the keyword-only parameters; those of the others would load torch."""
    written = {
        name: parameter.annotation
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    return get_type_hints(SimpleNamespace(__annotations__=written), function.__globals__)


def _mismatch(wanted: Any, value: Any) -> str | None:
    """What was expected, when ``value`` is not of the annotated type."""
    if get_origin(wanted) is Literal:
        choices: Iterable[Any] = get_args(wanted)
        return None if value in choices else f"one of {', '.join(map(str, choices))}"
    if wanted is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        good = number and abs(value) < float("inf") and value >= 0
        return None if good else "a finite number ≥ 0"
    if wanted is int:
        good = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        return None if good else "a whole number ≥ 0"
    return None if isinstance(value, wanted) else wanted.__name__
