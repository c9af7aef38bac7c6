"""SparseGPT against the plain definition: an inverse of what is left of H at every column."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from mwanda.methods.reconstruction import sparsegpt
from mwanda.methods.reconstruction.factor import NotPositiveError

Choose = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def problem(
    rows: int = 6, columns: int = 24, tokens: int = 60, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight, and the Gram matrix of inputs whose features go together."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(columns, columns, generator=generator, dtype=torch.float64)
    x = torch.randn(tokens, columns, generator=generator, dtype=torch.float64) @ mix
    weight = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    return weight, x.t() @ x / tokens


def oracle(
    weight: torch.Tensor, gram: torch.Tensor, choose: Choose, every: int
) -> tuple[np.ndarray, np.ndarray]:
    """Column j goes; what is lost there is made up for by the columns after it (OBS)."""
    w, h = weight.numpy().copy(), 2 * gram.numpy()
    columns = w.shape[1]
    h = h + 0.01 * np.diag(h).mean() * np.eye(columns)
    inverses = [np.linalg.inv(h[j:, j:]) for j in range(columns)]
    corner = np.array([inverse[0, 0] for inverse in inverses])
    mask = np.ones_like(w, dtype=bool)
    for j in range(columns):
        if j % every == 0:
            end = min(j + every, columns)
            mask[:, j:end] = choose(w[:, j:end] ** 2 / corner[j:end], np.arange(j, end), j)
        lost = np.where(mask[:, j], 0, w[:, j])
        w[:, j:] -= np.outer(lost / corner[j], inverses[j][0])
        w[~mask[:, j], j] = 0
    return w, mask


def check(
    found: sparsegpt.Reconstructed, expected: tuple[np.ndarray, np.ndarray], rtol: float = 1e-7
) -> None:
    assert np.array_equal(found.mask.numpy(), expected[1])
    np.testing.assert_allclose(found.weight.numpy(), expected[0], rtol=rtol, atol=rtol)
    assert (found.weight[~found.mask] == 0).all()


@pytest.mark.parametrize("width", [8, 10, 24, 128])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.77])
def test_unstructured(monkeypatch: pytest.MonkeyPatch, width: int, sparsity: float) -> None:
    monkeypatch.setattr(sparsegpt, "COLUMNS", width)
    weight, gram = problem()
    before = weight.clone(), gram.clone()

    def choose(scores: np.ndarray, columns: np.ndarray, _start: int) -> np.ndarray:
        rows = len(scores)
        gone = int(rows * (columns[-1] + 1) * sparsity) - int(rows * columns[0] * sparsity)
        mask = np.ones(scores.size, dtype=bool)
        mask[np.argsort(scores.ravel(), kind="stable")[:gone]] = False
        return mask.reshape(scores.shape)

    found = sparsegpt.prune(weight, gram, sparsity, 1, 1)
    check(found, oracle(weight, gram, choose, width))
    assert int((~found.mask).sum()) == int(6 * 24 * sparsity)
    assert torch.equal(weight, before[0])
    assert torch.equal(gram, before[1])


@pytest.mark.parametrize("width", [8, 128])
@pytest.mark.parametrize(("keep", "group"), [(2, 4), (4, 8), (1, 3), (1, 12)])
def test_n_of_m(monkeypatch: pytest.MonkeyPatch, width: int, keep: int, group: int) -> None:
    monkeypatch.setattr(sparsegpt, "COLUMNS", width)
    weight, gram = problem()

    def choose(scores: np.ndarray, _columns: np.ndarray, _start: int) -> np.ndarray:
        mask = np.ones_like(scores, dtype=bool)
        for row, values in enumerate(scores):
            mask[row, np.argsort(values, kind="stable")[: group - keep]] = False
        return mask

    found = sparsegpt.prune(weight, gram, 1 - keep / group, keep, group)
    check(found, oracle(weight, gram, choose, group))
    assert (found.mask.reshape(6, -1, group).sum(dim=2) == keep).all()


def test_a_given_mask_gets_the_same_update() -> None:
    weight, gram = problem()
    own = sparsegpt.prune(weight, gram, 0.5, 1, 1)
    again = sparsegpt.reconstruct(weight, own.mask, gram)
    assert torch.equal(again.weight, own.weight)
    mask = torch.rand(weight.shape, generator=torch.Generator().manual_seed(5)) > 0.4

    def choose(scores: np.ndarray, columns: np.ndarray, _start: int) -> np.ndarray:
        return mask[:, columns].numpy()

    check(sparsegpt.reconstruct(weight, mask, gram), oracle(weight, gram, choose, 24))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_float32_is_close(dtype: torch.dtype) -> None:
    weight, gram = problem(tokens=400)
    weight = weight.to(dtype)
    exact = sparsegpt.prune(weight, gram, 0.5, 2, 4)
    found = sparsegpt.prune(weight, gram.float(), 0.5, 2, 4)
    assert found.weight.dtype == torch.float32
    assert torch.equal(found.mask, exact.mask)
    torch.testing.assert_close(found.weight.double(), exact.weight, rtol=1e-3, atol=1e-3)


def test_the_update_lowers_the_error_of_its_mask() -> None:
    weight, gram = problem(rows=20, columns=40, tokens=300)
    found = sparsegpt.prune(weight, gram, 0.5, 1, 1)

    def error(new: torch.Tensor) -> float:
        change = new - weight
        return float(((change @ gram) * change).sum())

    assert error(found.weight) < 0.9 * error(weight * found.mask)


def test_a_dead_feature_goes_first_and_disturbs_nobody() -> None:
    weight, gram = problem()
    dead = [3, 17]
    live = [j for j in range(24) if j not in dead]
    gram[dead] = 0
    gram[:, dead] = 0
    found = sparsegpt.prune(weight, gram, 0.3, 1, 1)
    assert not found.mask[:, dead].any()
    assert torch.isfinite(found.weight).all()
    mask = torch.rand(weight.shape, generator=torch.Generator().manual_seed(5)) > 0.4
    whole = sparsegpt.reconstruct(weight, mask, gram).weight
    part = sparsegpt.reconstruct(weight[:, live], mask[:, live], gram[live][:, live]).weight
    torch.testing.assert_close(whole[:, live], part)
    assert torch.equal(whole[:, dead], weight[:, dead] * mask[:, dead])
    nothing = sparsegpt.prune(weight, torch.zeros_like(gram), 0.5, 2, 4)
    assert torch.equal(nothing.weight, weight * nothing.mask)
    assert int((~nothing.mask).sum()) == 6 * 24 // 2


def test_damping_is_raised_and_told_where_a_factorisation_fails() -> None:
    weight, gram = problem()
    assert not sparsegpt.prune(weight, gram, 0.5, 1, 1).raised
    gram -= 0.5 * gram.diagonal().mean() * torch.eye(24, dtype=gram.dtype)
    gram.diagonal().clamp_(min=1e-3)
    found = sparsegpt.prune(weight, gram, 0.5, 1, 1)
    assert found.raised
    assert found.damping in (pytest.approx(0.1), pytest.approx(1), pytest.approx(10))
    assert torch.isfinite(found.weight).all()
    assert int((~found.mask).sum()) == 72
    with pytest.raises(NotPositiveError, match="damping 10"):
        sparsegpt.prune(weight, gram + torch.full_like(gram, 1e9).fill_diagonal_(0), 0.5, 1, 1)
    with pytest.raises(NotPositiveError):
        sparsegpt.prune(weight, torch.full_like(gram, float("nan")), 0.5, 1, 1)
