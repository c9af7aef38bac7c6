"""Dense families beside the main path: masks, forward and folder as plain transformers has them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import mwanda
from mwanda import RunOptions
from tests.pruning.pipeline.helpers import (
    WEIGHTS,
    Tiny,
    masks_of,
    same_masks,
    tensors,
    token_windows,
    windows_file,
)
from tests.support import oracle
from tests.support.dense import DENSE_FAMILIES
from tests.support.walk import plain, streamed

TIE = 1e-6


@pytest.mark.parametrize("family", DENSE_FAMILIES)
def test_a_dense_family_is_pruned_as_the_oracle_does(
    tiny: Tiny, tmp_path: Path, family: str
) -> None:
    source, out = tiny(family, layers=2), tmp_path / "out"
    before = plain(source)
    torch.testing.assert_close(streamed(source), before, rtol=1e-5, atol=1e-5)
    expected = oracle.prune(
        source,
        token_windows(),
        WEIGHTS,
        score=oracle.wanda,
        keep=oracle.rows(0.5),
        # XGLM makes a float32 of the least number of its dtype.
        forward=torch.float32 if family == "xglm" else torch.float64,
    )
    assert expected.margin > TIE
    mwanda.prune(
        source,
        out=out,
        calibration=windows_file(tmp_path),
        criterion="wanda",
        allocation="uniform",
        mode="sequential",
        language_weights=WEIGHTS,
        options=RunOptions(batch_tokens=48),
    )
    same_masks(masks_of(out), expected.masks)
    after = plain(out)
    assert (after - before).abs().max() > 0.01
    torch.testing.assert_close(streamed(out), after, rtol=1e-5, atol=1e-5)
    stored = tensors(source)
    assert list(tensors(out)) == list(stored)
    for name, tensor in tensors(out).items():
        assert torch.equal(tensor, torch.where(tensor == 0, 0, stored[name]))
