"""The shape and the cost of a prune, as a plan tells them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mwanda.system.progress import duration
from mwanda.system.shown import AsDict, Sheet, Shown


def products_alone(seconds: float, rate: float) -> str:
    """What the products of matrices take at so many operations per second, and that this is not
    all: a share of 8 to 90 % of the whole was measured, see docs/performance.md."""
    return f"{duration(seconds)} at {rate / 1e9:,.0f} GFLOP/s; all the rest comes on top"


@dataclass(frozen=True, repr=False)
class Plan(AsDict, Shown):
    """The shape and the cost of a prune.

    Attributes:
        model: as the user named it.
        method: criterion, allocation and mode, in words.
        blocks, linears: how many there are, and are to be pruned.
        weights: in the linears to prune; ``removed`` of them are to go.
        model_weights: of the whole checkpoint.
        languages: that calibrate; empty where no text is needed.
        tokens: of calibration text, all languages together; of statistics that are saved, those
            they were made on.
        passes: block passes over those tokens: a block run once over all tokens is one.
        compared: tokens that go through masked blocks on top, for an allocation that compares.
        steps: what is done in which order, in words.
        flops: floating-point operations of all that.
        matmul_rate: operations per second of this machine on the model's largest matrix, measured
            now; None where there is no forward.
        compute_seconds: what the operations take at that rate: a prune cannot be faster.
        bytes_read, bytes_written: of the checkpoint.
        disk: bytes that must be free: output, spilled activations and the journal.
        anonymous, high_water: predicted peak memory in bytes, without and with mapped files.
        device_memory: of an accelerator, beside that; None where the CPU computes.
        compute_dtype, dtype: of the forward, and written.
    """

    model: str
    method: str
    blocks: int
    linears: int
    weights: int
    removed: int
    model_weights: int
    languages: tuple[str, ...]
    tokens: int
    passes: int
    compared: int
    steps: tuple[str, ...]
    flops: int
    matmul_rate: float | None
    compute_seconds: float
    bytes_read: int
    bytes_written: int
    disk: int
    anonymous: int
    high_water: int
    device_memory: int | None
    compute_dtype: str
    dtype: str

    def _summary(self) -> str:
        languages = ", ".join(self.languages) or "no text needed"
        share = self.removed / self.weights if self.weights else 0.0
        return (
            f"{self.model}, {share:.1%} of {self.weights:,} weights in {self.linears} linears, "
            f"{languages}; {self.method}"
        )

    def table(self) -> list[list[str]]:
        """What there is and its amount, in words, as ``mwanda plan`` prints them."""
        products = "none"
        if self.matmul_rate is not None:
            products = products_alone(self.compute_seconds, self.matmul_rate)
        there = self.device_memory
        through = [["tokens through masked blocks", f"{self.compared:,}"]] if self.compared else []
        return [
            ["method", self.method],
            *([f"step {number}", step] for number, step in enumerate(self.steps, 1)),
            ["blocks", f"{self.blocks:,}"],
            ["linears to prune", f"{self.linears:,}"],
            ["weights in them", f"{self.weights:,}"],
            ["weights to remove", f"{self.removed:,}"],
            ["weights of the model", f"{self.model_weights:,}"],
            ["calibration tokens", f"{self.tokens:,}"],
            ["block passes", f"{self.passes:,}"],
            *through,
            ["matrix work", f"{self.flops / 1e12:.3f} TFLOP in {self.compute_dtype}"],
            ["matrix products alone", products],
            ["read", f"{self.bytes_read / 1e9:.2f} GB"],
            ["written", f"{self.bytes_written / 1e9:.2f} GB in {self.dtype}"],
            ["free disk needed", f"{self.disk / 1e9:.2f} GB"],
            ["peak memory, anonymous", f"{self.anonymous / 1e9:.2f} GB"],
            ["peak memory, resident", f"{self.high_water / 1e9:.2f} GB"],
            *([] if there is None else [["peak memory, accelerator", f"{there / 1e9:.2f} GB"]]),
        ]

    def _sheet(self) -> Sheet:
        return Sheet(["", ""], self.table())

    def _records(self) -> list[dict[str, Any]]:
        several = {"languages": ", ".join(self.languages), "steps": "; ".join(self.steps)}
        return [self.as_dict() | several]
