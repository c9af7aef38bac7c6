"""The whole pipeline against the plain float64 oracle: every entry of every mask."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import mwanda
from mwanda import RunOptions
from tests.pruning.pipeline.helpers import (
    TIE,
    WEIGHTS,
    Tiny,
    masks_of,
    same_masks,
    token_windows,
    windows_file,
)
from tests.support import oracle
from tests.support.models import FAMILIES


def run(folder: Path, out: Path, compute: str, **fields: Any) -> dict[str, torch.Tensor]:
    result = mwanda.prune(
        folder,
        out=out,
        calibration=windows_file(out.parent),
        allocation="uniform",
        mode="sequential",
        language_weights=WEIGHTS,
        options=RunOptions(compute_dtype=compute, batch_tokens=48),
        **fields,
    )
    assert result.manifest.compute_dtype == compute
    return masks_of(out)


def check_sparsity(masks: Mapping[str, torch.Tensor], sparsity: float) -> None:
    for mask in masks.values():
        kept = mask.shape[1] - int(mask.shape[1] * sparsity)
        assert mask.sum(dim=1).tolist() == [kept] * mask.shape[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_wanda_is_the_oracle(tiny: Tiny, tmp_path: Path, family: str) -> None:
    folder = tiny(family)
    assert all(mask.all() for mask in masks_of(folder).values())  # no zeros to begin with
    expected = oracle.prune(
        folder, token_windows(), WEIGHTS, score=oracle.wanda, keep=oracle.rows(0.5)
    )
    assert expected.margin > TIE
    check_sparsity(expected.masks, 0.5)
    for compute in ("float64", "float32"):
        same_masks(run(folder, tmp_path / compute, compute, criterion="wanda"), expected.masks)


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_thirty_per_cent(tiny: Tiny, tmp_path: Path, family: str) -> None:
    folder = tiny(family)
    expected = oracle.prune(
        folder, token_windows(), WEIGHTS, score=oracle.wanda, keep=oracle.rows(0.3)
    )
    assert expected.margin > TIE
    found = run(folder, tmp_path / "out", "float32", criterion="wanda", sparsity=0.3)
    check_sparsity(found, 0.3)
    same_masks(found, expected.masks)


@pytest.mark.parametrize("family", ["gemma3", "gpt2"])
def test_m_wanda(tiny: Tiny, tmp_path: Path, family: str) -> None:
    folder = tiny(family)
    expected = oracle.prune(
        folder,
        token_windows(),
        WEIGHTS,
        score=oracle.m_wanda(ratio=1.5, activity=0.7),
        keep=oracle.rows(0.5),
    )
    assert expected.margin > TIE
    criterion = {"name": "m-wanda", "dispersion_weight": 1.5, "activity_weight": 0.7}
    for compute in ("float64", "float32"):
        same_masks(run(folder, tmp_path / compute, compute, criterion=criterion), expected.masks)


@pytest.mark.parametrize("family", ["cohere", "gpt2"])
def test_two_of_four(tiny: Tiny, tmp_path: Path, family: str) -> None:
    folder = tiny(family)
    expected = oracle.prune(
        folder,
        token_windows(),
        WEIGHTS,
        score=oracle.wanda,
        keep=oracle.groups(2, 4),
        group=4,
    )
    assert expected.margin > TIE
    for mask in expected.masks.values():
        assert set(mask.reshape(-1, 4).sum(dim=1).tolist()) == {2}
    for compute in ("float64", "float32"):
        found = run(folder, tmp_path / compute, compute, criterion="wanda", pattern="2:4")
        same_masks(found, expected.masks)


def test_the_language_weights_matter(tiny: Tiny) -> None:
    """Otherwise the comparisons above would say nothing about them."""
    folder, windows = tiny("llama"), token_windows()
    weighted, equal = (
        oracle.prune(folder, windows, weights, score=oracle.wanda, keep=oracle.rows(0.5)).masks
        for weights in (WEIGHTS, {"de": 1.0, "sw": 1.0})
    )
    changed = [name for name, mask in weighted.items() if not torch.equal(mask, equal[name])]
    assert len(changed) > len(weighted) / 2
