"""Copies that are begun and waited for later, on a pretend accelerator that is late with them."""

from __future__ import annotations

import pytest
import torch

from mwanda.system.copies import Lane, fetch
from mwanda.system.device import HOST, pins
from mwanda.system.threads import Worker
from tests.support.accelerators import KIND, REAL, Accelerator
from tests.support.pretend.device import Pretend


@pytest.mark.parametrize("pinned", [True, False])
def test_there_and_back(accelerator: Accelerator, pinned: bool) -> None:
    x = torch.randn(5, 7)
    with accelerator.there(delayed=True, pinned=pinned):
        assert pins(torch.device(KIND, 0)) is pinned  # tried once
        _there_and_back(accelerator, x)


def _there_and_back(accelerator: Accelerator, x: torch.Tensor) -> None:
    with accelerator.counted() as copies:
        lane, worker = Lane(torch.device(KIND, 0)), Worker()
        there = worker.submit(lambda: lane.send(x)).result()()
        worker.close()
        coming = fetch((there * 2).t())
        there.zero_()  # what is fetched is what it was
        del there
        assert torch.equal(coming(), x.t() * 2)
        assert coming().is_contiguous()
    assert copies.faults == 0
    assert REAL or (copies.to_device, copies.to_host) == (1, 1)


def test_on_the_host_nothing_is_copied() -> None:
    x = torch.randn(5, 7)
    assert Lane(HOST).send(x)() is x
    assert fetch(x)().data_ptr() == x.data_ptr()


def test_what_is_sent_may_not_be_used_before_it_is_taken(counting: Pretend) -> None:
    with counting.there(delayed=True):
        taken = Lane(torch.device(KIND, 0)).send(torch.ones(4))
        made = next(
            c.cell_contents for c in taken.__closure__ or () if torch.is_tensor(c.cell_contents)
        )
        with pytest.raises(RuntimeError, match="another stream writes"):
            made + 1
        assert taken().tolist() == [1, 1, 1, 1]
