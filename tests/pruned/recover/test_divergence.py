"""The loss against float64 logits written out, and its gradient against finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from mwanda.model.run.head_form import PlainHead
from mwanda.pruned.recover import divergence as module
from mwanda.pruned.recover.divergence import divergence, in_dtype, only

ROWS, WIDTH, OTHER, POSITIONS = 13, 3, 4, 5

FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "soft cap": {"cap": 1.5},
    "scale": {"scale": 0.3},
    "all of it": {"before": 1.7, "scale": 0.6, "cap": 2.0},
}


def drawn(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def heads(form: str, *, bias: bool = False) -> tuple[PlainHead, PlainHead]:
    student = PlainHead(drawn(ROWS, WIDTH, seed=1), drawn(ROWS, seed=2) if bias else None)
    teacher = PlainHead(drawn(ROWS, OTHER, seed=3), None, cap=2.5)
    return PlainHead(student.weight, student.bias, **FORMS[form]), teacher


def logits(head: PlainHead, hidden: torch.Tensor) -> torch.Tensor:
    """The head written out."""
    made = nn.functional.linear(hidden * head.before, head.weight, head.bias) * head.scale
    return made if head.cap is None else head.cap * torch.tanh(made / head.cap)


def oracle(
    student: PlainHead, teacher: PlainHead, hidden: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Every position's divergence."""
    wanted = logits(teacher, targets).log_softmax(dim=1)
    found = logits(student, hidden).log_softmax(dim=1)
    return (wanted.exp() * (wanted - found)).sum(dim=1)


HIDDEN, TARGETS = drawn(POSITIONS, WIDTH, seed=5), drawn(POSITIONS, OTHER, seed=6)
SHARES = drawn(POSITIONS, seed=7).abs()


@pytest.fixture(params=[2, 1 << 20])
def held(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two positions at a time, and all."""
    monkeypatch.setattr(module, "LOGIT_BYTES", request.param * ROWS * 8)
    monkeypatch.setattr(module, "POSITIONS", 1)


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bias", [False, True])
def test_value_and_gradient_are_the_oracles(form: str, bias: bool) -> None:
    student, teacher = heads(form, bias=bias)
    expected = oracle(student, teacher, HIDDEN, TARGETS)
    total, each = divergence(student, teacher, HIDDEN, TARGETS, SHARES)
    torch.testing.assert_close(each, expected)
    torch.testing.assert_close(total, (expected * SHARES).sum())
    learned = [HIDDEN.clone(), student.weight.clone(), student.bias]
    inputs = tuple(one.requires_grad_() for one in learned if one is not None)

    def loss(hidden: torch.Tensor, weight: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        head = PlainHead(weight, rest[0] if rest else None, **FORMS[form])
        return divergence(head, teacher, hidden, TARGETS, SHARES)[0]

    assert torch.autograd.gradcheck(loss, inputs)


def test_gradcheck_sees_a_wrong_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_slope(shares: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **more: (shares(*args, **more)[0], None)

    monkeypatch.setattr(module, "_log_shares", without_slope(module._log_shares))
    student, teacher = heads("soft cap")
    hidden = HIDDEN.clone().requires_grad_()
    assert not torch.autograd.gradcheck(
        lambda given: divergence(student, teacher, given, TARGETS, SHARES)[0],
        (hidden,), raise_exception=False,
    )  # fmt: skip


def test_a_model_is_no_distance_from_itself() -> None:
    student, _ = heads("all of it")
    total, each = divergence(student, student, HIDDEN, HIDDEN, SHARES)
    assert float(total) == pytest.approx(0, abs=1e-12)
    assert float(each.abs().max()) < 1e-12


def test_rows_that_stand_for_others_give_the_whole_of_what_they_repeat() -> None:
    student, teacher = heads("all of it")
    twice = torch.arange(ROWS).repeat_interleave(2)
    expected = divergence(only(student, twice), only(teacher, twice), HIDDEN, TARGETS, SHARES)[1]
    offsets = torch.full((ROWS,), math.log(2), dtype=torch.float64)
    found = divergence(student, teacher, HIDDEN, TARGETS, SHARES, offsets)[1]
    torch.testing.assert_close(found, expected)


def test_narrow_products_are_near() -> None:
    student, teacher = heads("all of it")
    expected = oracle(student, teacher, HIDDEN, TARGETS)
    narrow = [in_dtype(head, torch.bfloat16) for head in (student, teacher)]
    hidden = HIDDEN.float().requires_grad_()
    total, each = divergence(narrow[0], narrow[1], hidden, TARGETS.bfloat16(), SHARES)
    total.backward()
    assert each.dtype == torch.float32
    torch.testing.assert_close(each.double(), expected, rtol=0.1, atol=0.02)
    exact = HIDDEN.clone().requires_grad_()
    divergence(student, teacher, exact, TARGETS, SHARES)[0].backward()
    assert hidden.grad is not None
    assert exact.grad is not None
    cosine = nn.functional.cosine_similarity(
        hidden.grad.double().flatten(), exact.grad.flatten(), dim=0
    )
    assert float(cosine) > 0.999
