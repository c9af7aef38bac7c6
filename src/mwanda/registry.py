"""THE table: every criterion, allocation, pattern and reconstruction, with source and needs.

Adding a method is one file with a pure function and one row here; its options are the keyword-only
parameters of the function, checked by name and type before any work.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import torch

from mwanda.allocation import alpha, cwl, dlp, owl, uniform
from mwanda.criteria import m_ria, m_wanda, magnitude, ria, wanda
from mwanda.errors import InputError, nearest
from mwanda.patterns import n_of_m, unstructured, unstructured_matrix
from mwanda.reconstruction import admm, sparsegpt
from mwanda.reconstruction.factor import Reconstructed
from mwanda.statistics.sums import InputStatistics, Need

__all__ = [
    "ALLOCATIONS",
    "CRITERIA",
    "PATTERNS",
    "RECONSTRUCTIONS",
    "Allocation",
    "Criterion",
    "Pattern",
    "Reconstruction",
    "find_allocation",
    "find_criterion",
    "find_pattern",
    "find_reconstruction",
    "option_problems",
]

Score = Callable[..., torch.Tensor]
Measure = Callable[..., float]
Allocate = Callable[..., list[float]]
Select = Callable[[torch.Tensor, float], torch.Tensor]
Reconstruct = Callable[..., Reconstructed]
Row = TypeVar("Row")


@dataclass(frozen=True)
class Criterion:
    """``score(weight[out, in], statistics, **options) -> float32[out, in]``, higher = keep.

    ``rowwise`` says that a row's scores depend on that row of the weight only, so that a large
    matrix can be scored in pieces.
    """

    name: str
    score: Score
    needs: tuple[Need, ...]
    formula: str
    source: str
    rowwise: bool = True
    cost: str = field(kw_only=True)
    when: str = field(kw_only=True)

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        return (self.score,)


@dataclass(frozen=True)
class Allocation:
    """``measure(weights, statistics, **options) -> float`` of one block, then
    ``allocate(signals, sizes, target, **options) -> sparsities``; no ``measure``, no signal."""

    name: str
    allocate: Allocate
    measure: Measure | None
    needs: tuple[Need, ...]
    formula: str
    source: str
    cost: str = field(kw_only=True)
    when: str = field(kw_only=True)

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        return (self.allocate,) if self.measure is None else (self.allocate, self.measure)

    @property
    def measures_weights_only(self) -> bool:
        """Whether it looks at the weights but needs no text."""
        return self.measure is not None and not self.needs


@dataclass(frozen=True)
class Pattern:
    """``select(score, sparsity) -> bool[out, in]``, True = keep.

    ``group`` is M of an N:M pattern (columns must be divisible by it) and ``fixed`` the only
    sparsity it can have. ``rowwise`` says that a row is selected by its own scores only, so that a
    large matrix can be selected in pieces.
    """

    name: str
    select: Select
    formula: str
    source: str
    group: int = 1
    fixed: float | None = None
    rowwise: bool = True
    cost: str = field(kw_only=True)
    when: str = field(kw_only=True)

    def removed(self, rows: int, columns: int, sparsity: float) -> int:
        """Number of weights that go from a matrix ``[rows, columns]``."""
        if self.fixed is not None:
            return round(rows * columns * self.fixed)
        if not self.rowwise:
            return unstructured_matrix.pruned_per_matrix(rows, columns, sparsity)
        return rows * unstructured.pruned_per_row(columns, sparsity)


@dataclass(frozen=True)
class Reconstruction:
    """``reconstruct(weight, mask, gram, **options) -> Reconstructed``: new values for the weights
    that a mask keeps. One that chooses its own mask has
    ``prune(weight, gram, sparsity, keep, group, **options)`` too, which is then used, and no
    criterion."""

    name: str
    reconstruct: Reconstruct
    prune: Reconstruct | None
    needs: tuple[Need, ...]
    formula: str
    source: str
    cost: str = field(kw_only=True)
    when: str = field(kw_only=True)

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        return (self.reconstruct,) if self.prune is None else (self.reconstruct, self.prune)


CRITERIA: Mapping[str, Criterion] = MappingProxyType(
    {
        row.name: row
        for row in (
            Criterion(
                "magnitude",
                magnitude.score,
                (),
                "|W_ij|",
                "Han et al., NeurIPS 2015, arXiv 1506.02626",
                cost="reading the weights",
                when="a baseline, or no text at hand",
            ),
            Criterion(
                "wanda",
                wanda.score,
                ("square",),
                "|W_ij| · sqrt(Σ w_ℓ n_ℓj²)",
                "Sun et al., ICLR 2024, arXiv 2306.11695",
                cost="a square and a sum a token and feature",
                when="the reference; with one language the original",
            ),
            Criterion(
                "m-wanda",
                m_wanda.score,
                ("square", "activity"),
                "|W_ij| · (n̄_j + λ·dispersion_j) · (1 + α·p_j)",
                "Choenni & Titov, EMNLP 2025, arXiv 2505.21171",
                cost="as wanda, and a comparison a token and feature",
                when="several languages; each part can be switched off",
            ),
            Criterion(
                "ria",
                ria.score,
                ("square",),
                "(|W_ij|/Σ_i|W_ij| + |W_ij|/Σ_j|W_ij|) · n̄_j^a",
                "Zhang et al., ICLR 2024",
                rowwise=False,
                cost="as wanda; a whole matrix is scored at once",
                when="where wanda empties rows or columns, as at high sparsity",
            ),
            Criterion(
                "m-ria",
                m_ria.score,
                ("square", "activity"),
                "(|W_ij|/Σ_i|W_ij| + |W_ij|/Σ_j|W_ij|) · ((n̄_j + λ·dispersion_j) · (1 + α·p_j))^a",
                "ria with the feature term of m-wanda, arXiv 2505.21171",
                rowwise=False,
                cost="as m-wanda; a whole matrix is scored at once",
                when="as ria, for several languages",
            ),
        )
    }
)

ALLOCATIONS: Mapping[str, Allocation] = MappingProxyType(
    {
        row.name: row
        for row in (
            Allocation(
                "uniform",
                uniform.allocate,
                None,
                (),
                "s in every block",
                "the common reference",
                cost="nothing",
                when="a baseline; the only one with N:M, which fixes every sparsity",
            ),
            Allocation(
                "owl",
                owl.allocate,
                owl.measure,
                ("square",),
                "density rises with the share of scores > M·mean, range ±λ",
                "Yin et al., ICML 2024, arXiv 2310.05175",
                cost="a dense pass where the mode is sequential; two rounds of scores",
                when="from about 60 % on, in large models",
            ),
            Allocation(
                "cwl",
                cwl.allocate,
                cwl.measure,
                ("square",),
                "sparsity follows the correlation of n_ℓ between languages, range ±λ",
                "Choenni & Titov, EMNLP 2025, arXiv 2505.21171",
                cost="a dense pass where the mode is sequential",
                when="several languages",
            ),
            Allocation(
                "alpha",
                alpha.allocate,
                alpha.measure,
                (),
                "sparsity grows with the power-law exponent of the spectrum of WᵀW, times 1 ± ε",
                "Lu et al., NeurIPS 2024, arXiv 2410.10912",
                cost="no text; eigenvalues of every linear, cubic in its shorter side",
                when="without text, or to compare",
            ),
            Allocation(
                "dlp",
                dlp.allocate,
                dlp.measure,
                ("square",),
                "density rises with 1 - U_b/ΣU, U the median of the scores, range ±α",
                "Chen et al., ICML 2025, arXiv 2505.23807",
                cost="a dense pass where the mode is sequential; two rounds of scores",
                when="high sparsity, with no threshold to choose",
            ),
        )
    }
)

PATTERNS: Mapping[str, Pattern] = MappingProxyType(
    {
        "unstructured": Pattern(
            "unstructured",
            unstructured.select,
            "in each output row the int(in · s) lowest scores go",
            "Sun et al., ICLR 2024, arXiv 2306.11695",
            cost="a partial sort of every row",
            when="the default",
        ),
        "unstructured-matrix": Pattern(
            "unstructured-matrix",
            unstructured_matrix.select,
            "in each matrix the int(out · in · s) lowest scores go",
            "Han et al., NeurIPS 2015, arXiv 1506.02626",
            rowwise=False,
            cost="a partial sort of every matrix, scored at once",
            when="the common reference of magnitude pruning",
        ),
        "2:4": Pattern(
            "2:4",
            lambda score, _sparsity: n_of_m.select(score, 2, 4),
            "of each 4 consecutive inputs the 2 highest stay",
            "Mishra et al. 2021, arXiv 2104.08378",
            group=4,
            fixed=0.5,
            cost="a sort of every group",
            when="hardware with sparse matrix units",
        ),
        "4:8": Pattern(
            "4:8",
            lambda score, _sparsity: n_of_m.select(score, 4, 8),
            "of each 8 consecutive inputs the 4 highest stay",
            "Mishra et al. 2021, arXiv 2104.08378",
            group=8,
            fixed=0.5,
            cost="a sort of every group",
            when="a milder 2:4",
        ),
    }
)

RECONSTRUCTIONS: Mapping[str, Reconstruction] = MappingProxyType(
    {
        row.name: row
        for row in (
            Reconstruction(
                "sparsegpt",
                sparsegpt.reconstruct,
                sparsegpt.prune,
                ("gram",),
                "lowest w²/U_jj² go column block by column block, later columns make up; UᵀU = G⁻¹",
                "Frantar & Alistarh, ICML 2023, arXiv 2301.00774",
                cost="in² values a linear; in²/2 products a token; a factorisation of in³ work",
                when="much calibration text; it leans on its languages",
            ),
            Reconstruction(
                "sparsegpt-update",
                sparsegpt.reconstruct,
                None,
                ("gram",),
                "sparsegpt's update under the criterion's mask",
                "Frantar & Alistarh, ICML 2023, arXiv 2301.00774",
                cost="as sparsegpt",
                when="to compare updates under one mask",
            ),
            Reconstruction(
                "admm",
                admm.reconstruct,
                None,
                ("gram",),
                "min tr((Z - W)·A·(Z - W)ᵀ) under the criterion's mask, A from G",
                "Boža, TMLR 2024, arXiv 2401.02938",
                cost="as sparsegpt; then one product out·in² an iteration",
                when="much text in every language wanted; with less, shrinkage or penalty",
            ),
        )
    }
)


def find_criterion(name: str) -> Criterion:
    """A criterion by name.

    Raises:
        InputError: unknown; the nearest name is suggested.
    """
    return _find(name, CRITERIA, "criterion")


def find_allocation(name: str) -> Allocation:
    """An allocation by name; raises InputError as :func:`find_criterion`."""
    return _find(name, ALLOCATIONS, "allocation")


def find_reconstruction(name: str) -> Reconstruction:
    """A reconstruction by name; raises InputError as :func:`find_criterion`."""
    return _find(name, RECONSTRUCTIONS, "reconstruction")


def find_pattern(name: str) -> Pattern:
    """A row of the table or any ``N:M`` with 1 ≤ N ≤ M ≤ 1024 (N is what stays).

    Raises:
        InputError: neither.
    """
    match = re.fullmatch(r"(\d{1,4}):(\d{1,4})", name)
    if match is None or name in PATTERNS:
        return _find(name, PATTERNS, "pattern", others=", or any N:M that keeps N of M")
    keep, group = int(match[1]), int(match[2])
    if not 1 <= keep <= group <= 1024:
        raise InputError(
            "pattern", expected="N:M with 1 ≤ N ≤ M ≤ 1024, N the weights kept", found=name
        )
    row = PATTERNS["2:4"]
    return Pattern(
        name,
        partial(_select_n_of_m, keep=keep, group=group),
        f"of each {group} consecutive inputs the {keep} highest stay",
        row.source,
        group=group,
        fixed=1 - keep / group,
        cost=row.cost,
        when=row.when,
    )


def option_problems(
    kind: str, row: Criterion | Allocation | Reconstruction, options: Mapping[str, Any]
) -> list[str]:
    """Every mistake in a method's options, one line each; empty when there is none."""
    known: dict[str, Any] = {}
    for function in row.functions:
        hints = get_type_hints(function)
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                known[name] = hints[name]
    problems = []
    for name, value in options.items():
        label = f"{kind} {row.name}, option {name}"
        if name not in known:
            fix = nearest(name, known) if known else "it takes no options"
            problems.append(str(InputError(label, expected="a known option", fix=fix)))
        elif (wanted := _mismatch(known[name], value)) is not None:
            problems.append(str(InputError(label, expected=wanted, found=repr(value))))
    return problems


def options_of(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that this function takes."""
    taken = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in taken}


def defaults_of(row: Criterion | Allocation | Reconstruction) -> dict[str, Any]:
    """Every option of a method with its default."""
    found: dict[str, Any] = {}
    for function in row.functions:
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                found[name] = parameter.default
    return found


def statistics_needed(*rows: Criterion | Allocation | Reconstruction) -> tuple[Need, ...]:
    """What a run has to measure for all of them, without repetition."""
    return tuple(dict.fromkeys(need for row in rows for need in row.needs))


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


def _select_n_of_m(score: torch.Tensor, _sparsity: float, *, keep: int, group: int) -> torch.Tensor:
    return n_of_m.select(score, keep, group)


def _find(name: str, table: Mapping[str, Row], kind: str, others: str = "") -> Row:
    if name not in table:
        raise InputError(
            kind, expected="a known name", found=repr(name), fix=nearest(name, table) + others
        )
    return table[name]


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
