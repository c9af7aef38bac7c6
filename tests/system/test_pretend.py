"""The pretend accelerator catches what a real one punishes, and gives what a CPU gives."""

from __future__ import annotations

import ctypes

import pytest
import torch

from tests.support.pretend.device import KIND, Pretend


def test_it_is_there_only_where_it_is_asked_for(counting: Pretend) -> None:
    assert not torch.accelerator.is_available()
    with counting.there():
        assert torch.accelerator.is_available()
    assert not torch.accelerator.is_available()


def test_results_are_those_of_the_cpu(counting: Pretend) -> None:
    x = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))
    with counting.there():
        y = x.to(KIND)
        for work in (
            lambda z: z @ z.t(),
            lambda z: z.sort(dim=1)[1],
            lambda z: z[:, 2:5].t().softmax(0),
            lambda z: z.unfold(1, 3, 2),
            lambda z: z[z > 0],
            lambda z: torch.linalg.cholesky_ex(z @ z.t())[0],
        ):
            ours, theirs = work(x), work(y)
            assert theirs.device.type == KIND
            assert torch.equal(ours, theirs.cpu())
            assert ours.stride() == theirs.stride()
        y[1:].mul_(2).add_(1)
        torch.gt(y, 0, out=(mask := torch.empty(0, dtype=torch.bool, device=KIND)))
        x[1:].mul_(2).add_(1)
        assert torch.equal(mask.cpu(), x > 0)


def test_a_host_tensor_beside_the_devices_fails(counting: Pretend) -> None:
    with counting.there():
        weight, mask = torch.ones(2, 3, device=KIND), torch.ones(2, 3, dtype=torch.bool)
        with pytest.raises(RuntimeError, match=r"masked_fill_ expects all tensors on one device"):
            weight.masked_fill_(mask, 0)
        with pytest.raises(RuntimeError, match="same device"):
            weight + torch.ones(3)
        assert (weight + torch.tensor(2.0)).tolist() == [[3.0] * 3] * 2  # a number is no tensor


def test_a_generator_of_the_cpu_fails(counting: Pretend) -> None:
    with counting.there(), pytest.raises(RuntimeError, match="expects a generator of the dev"):
        torch.randperm(5, generator=torch.Generator(), device=KIND)


def test_the_host_sees_poison_in_the_devices_memory(counting: Pretend) -> None:
    with counting.there(), counting.counted() as copies:
        made = torch.ones(3, device=KIND)
        seen = (ctypes.c_float * 3).from_address(made.data_ptr())
        assert all(value != value for value in seen)
        seen[0] = 1.0
        del seen, made
        assert torch.empty(2, device=KIND).isnan().all()
    assert copies.faults == 1
    assert counting.fault == "the host wrote to memory of the device"


def test_copies_and_reads_are_counted(counting: Pretend) -> None:
    with counting.there(), counting.counted() as copies:
        made = torch.zeros(4, dtype=torch.float16).to(KIND)
        made += 1
        made.cpu()
        float(made.sum())
        made.nonzero()
    assert (
        (copies.to_device, copies.to_device_bytes)
        == (copies.to_host, copies.to_host_bytes)
        == (1, 8)
    )
    assert copies.reads == 2
    assert 8 <= copies.peak <= 80


def test_a_copy_that_nobody_waited_for_is_poison(counting: Pretend) -> None:
    with counting.there(delayed=True):
        made = torch.arange(3.0, device=KIND)
        here = torch.zeros(3, pin_memory=True)
        here.copy_(made, non_blocking=True)
        assert here.isnan().all()
        made.zero_()  # comes after the copy
        torch.accelerator.synchronize()
        assert here.tolist() == [0, 1, 2]
        there = here.to(KIND, non_blocking=True)
        here.fill_(7)  # too early
        assert there.tolist() == [7, 7, 7]


def test_an_event_is_waited_for(counting: Pretend) -> None:
    with counting.there(delayed=True):
        here = torch.zeros(3, pin_memory=True)
        here.copy_(torch.arange(3.0, device=KIND), non_blocking=True)
        event = torch.Event(KIND)
        event.record()
        event.synchronize()
        assert here.tolist() == [0, 1, 2]


def test_streams_wait_for_one_another(counting: Pretend) -> None:
    with counting.there(), counting.counted() as copies:
        own, other = torch.accelerator.current_stream(), torch.Stream(device=KIND)
        with other:
            made = torch.ones(3, device=KIND)
            event = other.record_event()
        with pytest.raises(RuntimeError, match="uses what another stream writes"):
            made + 1
        own.wait_event(event)
        assert (made + 1).tolist() == [2, 2, 2]
        made.add_(1)
        made.record_stream(own)
        del made
        assert copies.faults == 0
        with other:
            made = torch.ones(3, device=KIND)
        own.wait_stream(other)
        made.add_(1)
        del made
    assert copies.faults == 2  # the race above, and the last
    assert "record_stream" in counting.fault or "waited" in counting.fault
