"""ADMM against the least squares of each row solved outright."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mwanda.methods.reconstruction import admm
from tests.methods.reconstruction.test_sparsegpt import problem


def mask_of(weight: torch.Tensor, seed: int = 5, share: float = 0.5) -> torch.Tensor:
    return torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed)) > share


def solved(weight: torch.Tensor, mask: torch.Tensor, gram: torch.Tensor) -> torch.Tensor:
    """Of each row the kept weights that minimise the error, from the normal equations."""
    found = torch.zeros_like(weight)
    for row, keep in enumerate(mask):
        inner = gram[keep][:, keep]
        found[row, keep] = torch.linalg.solve(inner, (weight[row] @ gram)[keep])
    return found


def errors(new: torch.Tensor, weight: torch.Tensor, gram: torch.Tensor) -> torch.Tensor:
    change = new.double() - weight.double()
    return ((change @ gram.double()) * change).sum(dim=1)


def test_it_converges_to_the_least_squares() -> None:
    weight, gram = problem(tokens=500)
    mask = mask_of(weight)
    before = weight.clone(), gram.clone(), mask.clone()
    found = admm.reconstruct(weight, mask, gram, iterations=20_000)
    torch.testing.assert_close(found.weight, solved(weight, mask, gram), rtol=1e-4, atol=1e-4)
    assert (found.damping, found.raised) == (0.0, False)
    assert torch.equal(weight, before[0])
    assert torch.equal(gram, before[1])
    assert torch.equal(mask, before[2])


def test_thirty_iterations_take_most_of_it_off() -> None:
    weight, gram = problem(rows=20, columns=40, tokens=300)
    mask = mask_of(weight)
    plain, best = (
        errors(weight * mask, weight, gram),
        errors(solved(weight, mask, gram), weight, gram),
    )
    found = errors(admm.reconstruct(weight, mask, gram).weight, weight, gram)
    assert (found.sum() - best.sum()) < 0.15 * (plain.sum() - best.sum())


@pytest.mark.parametrize(("shrinkage", "penalty"), [(0.3, 0.0), (0.0, 0.2), (0.5, 0.1)])
def test_shrinkage_and_penalty_change_the_matrix_minimised(
    shrinkage: float, penalty: float
) -> None:
    weight, gram = problem()
    mask = mask_of(weight)
    diagonal = gram.diagonal()
    matrix = (1 - shrinkage) * gram + shrinkage * torch.diag(diagonal)
    matrix = matrix + penalty * diagonal.mean() * torch.eye(24, dtype=gram.dtype)
    found = admm.reconstruct(
        weight, mask, gram, iterations=5000, shrinkage=shrinkage, penalty=penalty
    )
    torch.testing.assert_close(found.weight, solved(weight, mask, matrix), rtol=1e-4, atol=1e-4)


def test_a_diagonal_matrix_leaves_the_kept_weights_alone() -> None:
    weight, gram = problem()
    mask = mask_of(weight)
    found = admm.reconstruct(weight, mask, gram, shrinkage=1.0).weight
    torch.testing.assert_close(found, weight * mask)


@settings(max_examples=60)
@given(
    st.integers(0, 10_000),
    st.integers(1, 40),
    st.sampled_from([0.05, 0.5, 0.9]),
    st.integers(0, 30),
    st.sampled_from([0.01, 1.0, 30.0]),
    st.booleans(),
)
def test_no_row_gets_worse_than_under_the_plain_mask(
    seed: int, tokens: int, share: float, iterations: int, rho: float, single: bool
) -> None:
    """Fewer tokens than features, steps too short or too long, no matter."""
    weight, gram = problem(tokens=tokens, seed=seed)
    mask = mask_of(weight, seed=seed, share=share)
    given_gram = gram.float() if single else gram
    found = admm.reconstruct(weight, mask, given_gram, iterations=iterations, rho=rho).weight
    assert torch.isfinite(found).all()
    assert (found[~mask] == 0).all()
    after, plain = errors(found, weight, gram), errors(weight * mask, weight, gram)
    slack = 1e-4 * (weight.square() @ gram.diagonal()) if single else 1e-9
    assert (after <= plain + slack).all()


def test_dead_features_stay_as_they_are() -> None:
    weight, gram = problem()
    gram[[3, 17]] = 0
    gram[:, [3, 17]] = 0
    mask = mask_of(weight)
    found = admm.reconstruct(weight, mask, gram).weight
    torch.testing.assert_close(found[:, [3, 17]], (weight * mask)[:, [3, 17]])
    torch.testing.assert_close(
        admm.reconstruct(weight, mask, torch.zeros_like(gram)).weight, weight * mask
    )


def test_a_broken_matrix_is_damped_told_and_never_made_worse() -> None:
    weight, gram = problem()
    gram = gram - 0.2 * gram.diagonal().mean() * torch.ones_like(gram).fill_diagonal_(0)
    mask = mask_of(weight)
    found = admm.reconstruct(weight, mask, gram)
    assert found.raised
    assert found.damping > 0
    assert torch.isfinite(found.weight).all()
    assert (found.weight[~mask] == 0).all()
    assert (errors(found.weight, weight, gram) <= errors(weight * mask, weight, gram) + 1e-9).all()


def gradual(
    weight: torch.Tensor,
    gram: torch.Tensor,
    sparsity: float,
    *,
    keep: int = 1,
    group: int = 1,
    iterations: int = 30,
    ramp: int = 15,
) -> tuple[np.ndarray, np.ndarray]:
    """The scaled problem row by row, each step of the weights solved outright, rho 1."""
    scale = np.sqrt(np.diag(gram.numpy()))
    a = gram.numpy() / np.outer(scale, scale)
    target, columns = weight.numpy() * scale, len(scale)
    found, masks = np.zeros_like(target), np.ones(target.shape, dtype=bool)
    for row, wanted in enumerate(target):
        z, u, mask = wanted.copy(), np.zeros(columns), np.ones(columns, dtype=bool)
        for k in range(1, iterations + 1):
            w = np.linalg.solve(a + np.eye(columns), a @ wanted + z - u)
            if k <= ramp:
                gone = int(columns * sparsity * (1 - (1 - k / ramp) ** 3))
                width = columns if group == 1 else group
                mask = np.ones(columns, dtype=bool)
                for start in range(0, columns, width):
                    order = start + np.argsort(np.abs(w + u)[start : start + width], kind="stable")
                    mask[order[: gone if group == 1 else group - keep]] = False
            z = np.where(mask, w + u, 0)
            u = u + w - z
        found[row], masks[row] = z / scale, mask
    return found, masks


@pytest.mark.parametrize("ramp", [1, 15, 30])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.77])
def test_a_mask_of_its_own(sparsity: float, ramp: int) -> None:
    weight, gram = problem(tokens=500)
    found = admm.prune(weight, gram, sparsity, 1, 1, ramp=ramp)
    expected, mask = gradual(weight, gram, sparsity, ramp=ramp)
    assert np.array_equal(found.mask.numpy(), mask)
    assert (found.mask.sum(dim=1) == 24 - int(24 * sparsity)).all()
    np.testing.assert_allclose(found.weight.numpy(), expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("keep", "group"), [(2, 4), (4, 8), (1, 3)])
def test_a_mask_of_its_own_in_groups(keep: int, group: int) -> None:
    weight, gram = problem(tokens=500)
    found = admm.prune(weight, gram, 1 - keep / group, keep, group, ramp=5)
    expected, mask = gradual(weight, gram, 0.0, keep=keep, group=group, ramp=5)
    assert np.array_equal(found.mask.numpy(), mask)
    np.testing.assert_allclose(found.weight.numpy(), expected, rtol=1e-7, atol=1e-9)


def test_its_own_mask_is_better_than_that_of_the_scores_it_starts_from() -> None:
    weight, gram = problem(rows=20, columns=40, tokens=300)
    score = weight.abs() * gram.diagonal().sqrt()
    mask = score > score.sort(dim=1).values[:, 19:20]
    after = errors(admm.prune(weight, gram, 0.5, 1, 1).weight, weight, gram).sum()
    given_mask = errors(admm.reconstruct(weight, mask, gram).weight, weight, gram).sum()
    assert after < 0.95 * given_mask


def test_dead_features_go_first() -> None:
    weight, gram = problem()
    gram[[3, 17]] = 0
    gram[:, [3, 17]] = 0
    found = admm.prune(weight, gram, 0.25, 1, 1)
    assert not found.mask[:, [3, 17]].any()
    assert (found.mask.sum(dim=1) == 18).all()


@settings(max_examples=40)
@given(
    st.integers(0, 10_000),
    st.integers(1, 40),
    st.sampled_from([0.05, 0.5, 0.99, 1.0]),
    st.integers(0, 20),
    st.integers(0, 30),
)
def test_its_own_mask_is_exact_and_its_weights_finite(
    seed: int, tokens: int, sparsity: float, iterations: int, ramp: int
) -> None:
    weight, gram = problem(tokens=tokens, seed=seed)
    found = admm.prune(
        weight.float(), gram.float(), sparsity, 1, 1, iterations=iterations, ramp=ramp
    )
    assert torch.isfinite(found.weight).all()
    assert (found.mask.sum(dim=1) == 24 - int(24 * sparsity)).all()
    assert (found.weight[~found.mask] == 0).all()
