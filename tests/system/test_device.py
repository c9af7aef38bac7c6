"""Devices by name, and what a kind lacks: with a pretend accelerator, and without any."""

from __future__ import annotations

import math

import pytest
import torch

from mwanda import InputError
from mwanda.methods.allocation.comparison import relative_errors
from mwanda.methods.criteria import ria
from mwanda.methods.input_statistics import FeatureSums, settle
from mwanda.methods.wide import wide_sum
from mwanda.system import device
from mwanda.system.device import (
    HOST,
    choose_compute_dtype,
    choose_device,
    device_kind,
    exchange_of,
    has_float64,
    to_host,
    widened,
)
from tests.support.accelerators import KIND, REAL, Accelerator
from tests.support.pretend.device import Pretend

NEEDS = ("square", "activity", "activity-sign")


@pytest.mark.skipif(REAL, reason="there is one")
def test_without_an_accelerator_there_is_the_cpu() -> None:
    assert choose_device("auto") == choose_device("cpu") == HOST
    for name in ("mps", "xpu", "xpu:1"):
        with pytest.raises(InputError, match=rf"this machine: cpu, found {name}, which is not"):
            choose_device(name)


def test_devices_by_name(counting: Pretend) -> None:
    with counting.there():
        assert choose_device("auto") == choose_device(KIND) == torch.device(KIND, 0)
        assert choose_device("auto", 1) == choose_device(f"{KIND}:1", 0) == torch.device(KIND, 1)
        assert choose_device("cpu", 1) == HOST
        with pytest.raises(InputError, match=r"found pretend:2, of 2 devices"):
            choose_device("auto", 2)
        with pytest.raises(InputError, match=r"cpu or pretend, found xpu, which is not there"):
            choose_device("xpu")
        assert device_kind(torch.device(KIND, 0)) == "a pretend accelerator"
    assert choose_device("auto") == HOST


def test_processes_exchange_as_the_kind_does(
    counting: Pretend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "has_float64", lambda one: one.index != 2)
    assert exchange_of(torch.device("cuda", 1)) == ("nccl", torch.device("cuda", 1))
    assert exchange_of(torch.device("xpu", 0)) == ("xccl", torch.device("xpu", 0))
    for kind in ("cpu", "mps", KIND, "xpu:2"):  # the last one could not take their sums
        assert exchange_of(torch.device(kind)) == ("gloo", HOST)


def test_compute_dtypes_that_a_kind_lacks(counting: Pretend) -> None:
    there, bf16 = torch.device(KIND, 0), torch.bfloat16
    with counting.there():
        assert choose_compute_dtype(None, bf16, there) == bf16
        assert choose_compute_dtype(torch.float64, bf16, there) == torch.float64
    with counting.there(bfloat16=False, float64=False):
        assert choose_compute_dtype(None, bf16, there) == torch.float32
        assert choose_compute_dtype(None, torch.float64, there) == torch.float32
        for wanted in ("bfloat16", "float64"):
            with pytest.raises(InputError, match=f"dtype that pretend computes in, found {wanted}"):
                choose_compute_dtype(getattr(torch, wanted), torch.float32, there)


@pytest.mark.parametrize("pinned", [True, False])
def test_to_the_host_through_pinned_memory_where_there_is_any(
    accelerator: Accelerator, pinned: bool
) -> None:
    with accelerator.there(pinned=pinned):
        here = to_host(torch.arange(6.0, device=KIND).view(2, 3).t())
        assert here.tolist() == [[0, 3], [1, 4], [2, 5]]
        assert here.is_contiguous()
        assert here.is_pinned() is pinned


def test_float32_sums_that_make_up_for_rounding(accelerator: Accelerator) -> None:
    """Where there is no float64: against sums in float64, of many batches of unlike sizes."""
    generator = torch.Generator().manual_seed(3)
    scales = (1.0, 1e3, 1e-3, 30.0)
    batches = [
        torch.randn(50, 40, generator=generator) * scales[number % 4] + 1 for number in range(400)
    ]
    exact, plain = FeatureSums.empty(40, NEEDS, HOST), torch.zeros(40)
    for batch in batches:
        exact.add(FeatureSums.of(batch, NEEDS))
        plain += batch.square().sum(dim=0)
    with accelerator.there(float64=False):
        assert not has_float64(torch.device(KIND))
        sums = FeatureSums.empty(40, NEEDS, torch.device(KIND))
        for batch in batches:
            sums.add(FeatureSums.of(batch.to(KIND), NEEDS))
        settle([sums])
    assert sums.tokens == exact.tokens
    assert not sums.lost
    off = ((sums.square - exact.square) / exact.square).abs().max()
    assert off < 3e-8  # what a batch's own sum in float32 loses, averaged out
    assert off < ((plain - exact.square) / exact.square).abs().max() / 5
    for ours, theirs in zip(sums.tensors[1:], exact.tensors[1:], strict=True):
        assert ours.dtype == torch.float64
        assert torch.equal(ours, theirs)


def test_what_needs_float64_goes_to_the_host_without_it(accelerator: Accelerator) -> None:
    weight = torch.randn(30, 20, generator=torch.Generator().manual_seed(5))
    with accelerator.there(float64=False):
        there = weight.to(KIND)
        assert widened(there).device == wide_sum(there, 0).device == HOST
        assert float(wide_sum(there)) == math.fsum(weight.double().flatten().tolist())
        assert torch.equal(ria.relative_importance(there).cpu(), ria.relative_importance(weight))
        errors = relative_errors(there, there * 1.5)
    assert torch.equal(errors, relative_errors(weight, weight * 1.5))
