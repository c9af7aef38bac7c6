"""A study on a pretend accelerator gives what it gives on a CPU."""

from __future__ import annotations

import json

from mwanda.study.launch import start_study
from tests.study.helpers import Lab, results
from tests.support.accelerators import KIND, Accelerator, assert_alike


def test_a_study_on_an_accelerator(accelerator: Accelerator, lab: Lab) -> None:
    found = {}
    for device in ("cpu", KIND):
        out = lab.root / device
        with accelerator.there(delayed=True):
            document = lab.document(criteria=["m-wanda"], sparsities=[0.5], run={"device": device})
            assert start_study(document, out).counts["done"] == 2
        rows = [json.loads(raw) for raw in results(out).values()]
        made = ((str(row.get("sparsity")), row["languages"]) for row in rows)
        found[device] = [row for _, row in sorted(made, key=lambda one: one[0])]
    assert_alike(found[KIND], found["cpu"])
