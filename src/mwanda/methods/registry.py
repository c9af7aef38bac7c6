"""THE table: every criterion, allocation, pattern and reconstruction, with source and needs.

Adding a method is one file with a pure function and one row here; its options are the keyword-only
parameters of the function, checked by name and type before any work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from mwanda.errors import InputError, nearest
from mwanda.methods.allocation import alpha, cwl, dlp, measured, owl, uniform
from mwanda.methods.criteria import m_ria, m_wanda, magnitude, ria, wanda
from mwanda.methods.kinds import Allocation, Criterion, Method, Pattern, Reconstruction
from mwanda.methods.patterns import n_of_m, unstructured, unstructured_matrix
from mwanda.methods.reconstruction import admm, sparsegpt

Row = TypeVar("Row", bound=Method)


def _table(*rows: Row) -> Mapping[str, Row]:
    return MappingProxyType({row.name: row for row in rows})


CRITERIA = _table(
    Criterion(
        "magnitude",
        "|W_ij|",
        "Han et al., NeurIPS 2015, arXiv 1506.02626",
        magnitude.score,
        cost="reading the weights",
        when="a baseline, or no text at hand",
    ),
    Criterion(
        "wanda",
        "|W_ij| · sqrt(Σ w_ℓ n_ℓj²)",
        "Sun et al., ICLR 2024, arXiv 2306.11695",
        wanda.score,
        ("square",),
        cost="a square and a sum a token and feature",
        when="the reference; with one language the original",
    ),
    Criterion(
        "m-wanda",
        "|W_ij| · (n̄_j + λ·dispersion_j) · (1 + α·p_j)",
        "Choenni & Titov, EMNLP 2025, arXiv 2505.21171",
        m_wanda.score,
        ("square", "activity"),
        find_needs=m_wanda.needs,
        cost="as wanda, and a comparison a token and feature",
        when="several languages; each part can be switched off",
    ),
    Criterion(
        "ria",
        "(|W_ij|/Σ_i|W_ij| + |W_ij|/Σ_j|W_ij|) · n̄_j^a",
        "Zhang et al., ICLR 2024",
        ria.score,
        ("square",),
        rowwise=False,
        cost="as wanda; a whole matrix is scored at once",
        when="to try with N:M and from about 60 % on, with a = 1",
    ),
    Criterion(
        "m-ria",
        "(|W_ij|/Σ_i|W_ij| + |W_ij|/Σ_j|W_ij|) · ((n̄_j + λ·dispersion_j) · (1 + α·p_j))^a",
        "ria with the feature term of m-wanda, arXiv 2505.21171",
        m_ria.score,
        ("square", "activity"),
        rowwise=False,
        find_needs=m_wanda.needs,
        cost="as m-wanda; a whole matrix is scored at once",
        when="as ria, for several languages",
    ),
)

ALLOCATIONS = _table(
    Allocation(
        "uniform",
        "s in every block",
        "the common reference",
        uniform.allocate,
        cost="nothing",
        when="a baseline; the only one with N:M, which fixes every sparsity",
    ),
    Allocation(
        "owl",
        "density rises with the share of scores > M·mean, range ±λ",
        "Yin et al., ICML 2024, arXiv 2310.05175",
        owl.allocate,
        owl.measure,
        ("square",),
        cost="a dense pass where the mode is sequential; two rounds of scores",
        when="from about 60 % on, in large models",
        scratch=13,
    ),
    Allocation(
        "cwl",
        "sparsity follows the correlation of n_ℓ between languages, range ±λ",
        "Choenni & Titov, EMNLP 2025, arXiv 2505.21171",
        cwl.allocate,
        cwl.measure,
        ("square",),
        cost="a dense pass where the mode is sequential",
        when="several languages; the default with saved statistics",
    ),
    Allocation(
        "alpha",
        "sparsity grows with the power-law exponent of the spectrum of WᵀW, times 1 ± ε",
        "Lu et al., NeurIPS 2024, arXiv 2410.10912",
        alpha.allocate,
        alpha.measure,
        cost="no text; eigenvalues of every linear, cubic in its shorter side",
        when="without text, or to compare",
        scratch=28,
    ),
    Allocation(
        "dlp",
        "density rises with 1 - U_b/ΣU, U the median of the scores, range ±α",
        "Chen et al., ICML 2025, arXiv 2505.23807",
        dlp.allocate,
        dlp.measure,
        ("square",),
        cost="a dense pass where the mode is sequential; two rounds of scores",
        when="high sparsity, with no threshold to choose",
        scratch=13,
    ),
    Allocation(
        "measured",
        "min Σ_r E_rℓ(s_r), mean or worst of ℓ; E_rℓ = mean over t of ‖ŷ_t - y_t‖²/‖y_t‖²",
        "our own",
        measured.allocate,
        cost="a dense pass; each block once more for every kind of linear, on few windows",
        when="the default, where there is text and not only its statistics",
        probe=measured.probe,
    ),
)


def _n_of_m(keep: int, group: int, when: str) -> Pattern:
    return Pattern(
        f"{keep}:{group}",
        f"of each {group} consecutive inputs the {keep} highest stay",
        "Mishra et al. 2021, arXiv 2104.08378",
        lambda score, _sparsity: n_of_m.select(score, keep, group),
        lambda rows, columns, _sparsity: n_of_m.removed(rows, columns, keep, group),
        group=group,
        fixed=1 - keep / group,
        cost="a sort of every group",
        when=when,
    )


PATTERNS = _table(
    Pattern(
        "unstructured",
        "in each output row the int(in · s) lowest scores go",
        "Sun et al., ICLR 2024, arXiv 2306.11695",
        unstructured.select,
        unstructured.removed,
        cost="a partial sort of every row",
        when="the default",
    ),
    Pattern(
        "unstructured-matrix",
        "in each matrix the int(out · in · s) lowest scores go",
        "Han et al., NeurIPS 2015, arXiv 1506.02626",
        unstructured_matrix.select,
        unstructured_matrix.removed,
        rowwise=False,
        cost="a partial sort of every matrix, scored at once",
        when="the common reference of magnitude pruning",
    ),
    _n_of_m(2, 4, "hardware with sparse matrix units"),
    _n_of_m(4, 8, "a milder 2:4"),
)

RECONSTRUCTIONS = _table(
    Reconstruction(
        "sparsegpt",
        "lowest w²/U_jj² go column block by column block, later columns make up; UᵀU = G⁻¹",
        "Frantar & Alistarh, ICML 2023, arXiv 2301.00774",
        sparsegpt.reconstruct,
        sparsegpt.prune,
        operations=sparsegpt.operations,
        memory=sparsegpt.memory,
        cost="in² values a linear; in²/2 products a token; a factorisation of in³ work",
        when="much calibration text; it leans on its languages",
    ),
    Reconstruction(
        "sparsegpt-update",
        "sparsegpt's update under the criterion's mask",
        "Frantar & Alistarh, ICML 2023, arXiv 2301.00774",
        sparsegpt.reconstruct,
        operations=sparsegpt.operations,
        memory=sparsegpt.memory,
        cost="as sparsegpt",
        when="to compare updates under one mask",
    ),
    Reconstruction(
        "admm",
        "min tr((Z - W)·A·(Z - W)ᵀ) under the criterion's mask, A from G",
        "Boža, TMLR 2024, arXiv 2401.02938",
        admm.reconstruct,
        operations=admm.operations,
        memory=admm.memory,
        cost="as sparsegpt; then one product out·in² an iteration",
        when="much text in every language wanted; with less, shrinkage or penalty",
    ),
    Reconstruction(
        "admm-gradual",
        "admm, its mask the lowest |W_ij|·sqrt(A_jj), s·(1 - (1 - k/ramp)³) in iteration k",
        "Boža, TMLR 2024, arXiv 2401.02938",
        admm.reconstruct,
        admm.prune,
        operations=admm.operations,
        memory=admm.memory,
        cost="as admm, and a partial sort in each iteration of the ramp",
        when="as admm, where no criterion of your own is wanted",
    ),
)


def other_kind(name: str) -> str:
    """``"that is a reconstruction: --reconstruction sparsegpt"``; nothing of an unknown name."""
    tables: Mapping[str, Mapping[str, object]] = {
        "criterion": CRITERIA,
        "allocation": ALLOCATIONS,
        "pattern": PATTERNS,
        "reconstruction": RECONSTRUCTIONS,
    }
    kind = next((kind for kind, rows in tables.items() if name in rows), None)
    article = "an" if kind == "allocation" else "a"
    return "" if kind is None else f"that is {article} {kind}: --{kind} {name}"


def find_criterion(name: str) -> Criterion:
    """A criterion by name, or an InputError that suggests the nearest one."""
    return _find(name, CRITERIA, "criterion")


def find_allocation(name: str) -> Allocation:
    """An allocation, as :func:`find_criterion`."""
    return _find(name, ALLOCATIONS, "allocation")


def find_reconstruction(name: str) -> Reconstruction:
    """A reconstruction, as :func:`find_criterion`."""
    return _find(name, RECONSTRUCTIONS, "reconstruction", others=", or none")


def find_pattern(name: str) -> Pattern:
    """A row of the table or any ``N:M`` with 1 ≤ N ≤ M ≤ 1024 (N is what stays); else an
    InputError."""
    match = re.fullmatch(r"(\d{1,4}):(\d{1,4})", name)
    if match is None or name in PATTERNS:
        return _find(name, PATTERNS, "pattern", others=", or any N:M that keeps N of M")
    keep, group = int(match[1]), int(match[2])
    if not 1 <= keep <= group <= 1024:
        expected = "N:M with 1 ≤ N ≤ M ≤ 1024, N the weights kept"
        raise InputError("pattern", expected=expected, found=name)
    return _n_of_m(keep, group, PATTERNS["2:4"].when)


def _find(name: str, table: Mapping[str, Row], kind: str, others: str = "") -> Row:
    if name not in table:
        fix = other_kind(name) or nearest(name, table) + others
        raise InputError(kind, expected="a known name", found=repr(name), fix=fix)
    return table[name]
