"""Additive statistics of a linear's inputs, kept apart for every language.

Sums over tokens can be merged by addition, so neither batch size, nor order, nor the number of
machines changes them beyond rounding, and languages can be weighted anew without a forward pass.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Literal

import torch

from mwanda.methods.wide import add_compensated, sums_in

Need = Literal["square", "activity", "activity-sign", "gram"]
"""``activity`` counts by magnitude and ``activity-sign`` by sign, see :class:`FeatureSums`;
``gram`` is the weighted sum over languages of :mod:`mwanda.methods.gram`."""

Norms = Literal["raw", "normalised"]
"""How languages' norms are taken, see :meth:`InputStatistics.with_norms`."""

PIECE = 1 << 18
"""Values looked at together: 1 MiB of float32."""

DEVICE_PIECE = 1 << 24
"""The same on a device that wants large pieces."""


@dataclass
class FeatureSums:
    """Sums over the real tokens of one language at the input of one linear.

    Attributes:
        tokens: T, number of tokens seen (padding never counts).
        square: Σ_t x_tj², float64 ``[in]``.
        active: number of tokens on which feature j is active, float64 ``[in]``; None when nobody
            asked for it. A feature is active where ``|x_tj|`` exceeds the mean of ``|x_t·|`` at
            that token: inputs of a linear are signed, so their sign says nothing, and this rule
            needs no scale.
        positive: number of tokens on which ``x_tj > 0``, the rule for what leaves a non-linearity;
            float64 ``[in]``, None when nobody asked for it.
        lost: on a device without float64, where sums are float32, what rounding took from each, in
            the order of :attr:`tensors`; see :func:`settle`.
    """

    tokens: int
    square: torch.Tensor
    active: torch.Tensor | None = None
    positive: torch.Tensor | None = None
    lost: tuple[torch.Tensor, ...] = ()

    @classmethod
    def of(cls, inputs: torch.Tensor, needs: Iterable[Need]) -> FeatureSums:
        """Sums of one batch of inputs ``[..., in]`` in any floating dtype.

        Squares are made in at least float32 and added up in float64, in pieces of rows that stay
        in a core's cache: over a whole batch the same sums take several times as long.
        """
        x = inputs.reshape(-1, inputs.shape[-1])
        sums = cls.empty(int(x.shape[1]), needs, x.device)
        piece = PIECE if x.is_cpu else DEVICE_PIECE
        for part in x.split(max(1, piece // max(1, x.shape[1]))):
            values = part.float() if part.dtype in (torch.float16, torch.bfloat16) else part
            parts = [torch.square(values).sum(dim=0, dtype=sums.square.dtype)]
            if sums.active is not None:
                size = values.abs()
                # In place: a comparison's ones and zeros add up faster as floats than as bools.
                parts.append(size.gt_(size.mean(dim=1, keepdim=True)).sum(dim=0))
            if sums.positive is not None:
                parts.append((values > 0).to(values.dtype).sum(dim=0))
            sums._add(parts)
        sums.tokens = int(x.shape[0])
        return sums

    @classmethod
    def empty(cls, width: int, needs: Iterable[Need], device: torch.device) -> FeatureSums:
        """Sums over no token at all, for inputs ``[..., width]``."""
        square, wanted = torch.zeros(width, dtype=sums_in(device), device=device), set(needs)
        active = torch.zeros_like(square) if "activity" in wanted else None
        positive = torch.zeros_like(square) if "activity-sign" in wanted else None
        made = cls(0, square, active, positive)
        if square.dtype != torch.float64:
            made.lost = tuple(map(torch.zeros_like, made.tensors))
        return made

    @staticmethod
    def parts_of(needs: Collection[Need]) -> tuple[str, ...]:
        """Names of the sums that these needs keep."""
        kept = {"active": "activity", "positive": "activity-sign"}
        return ("square", *(part for part, need in kept.items() if need in needs))

    @property
    def tensors(self) -> list[torch.Tensor]:
        """What is added up, to be changed in place; the count of tokens is apart."""
        parts = (self.square, self.active, self.positive)
        return [part for part in parts if part is not None]

    def add(self, other: FeatureSums) -> None:
        """Take another part of the same language in."""
        self.tokens += other.tokens
        self._add(other.tensors)
        for mine, theirs in zip(self.lost, other.lost, strict=True):
            mine += theirs

    def _add(self, parts: Sequence[torch.Tensor]) -> None:
        if self.lost:
            for mine, lost, part in zip(self.tensors, self.lost, parts, strict=True):
                add_compensated(mine, lost, part)
        else:
            for mine, part in zip(self.tensors, parts, strict=True):
                mine += part

    def copy(self) -> FeatureSums:
        """Sums that can grow without changing this one."""
        return deepcopy(self)

    @property
    def finite(self) -> bool:
        """No NaN and no infinity among the sums."""
        return bool(torch.isfinite(self.square).all())


@dataclass(frozen=True)
class InputStatistics:
    """What a criterion or an allocation sees of one linear's inputs.

    Attributes:
        weights: w_ℓ, float64 ``[languages]``, summing to 1.
        mean_square: n_ℓj² = (1/T_ℓ) Σ_t x_tj², float64 ``[languages, in]``. A mean over tokens: a
            language whose tokeniser makes more tokens of the same text does not weigh more.
        activity: p_ℓj, share of tokens on which feature j is active, float64 ``[languages, in]``,
            or None where it was not measured.
        positive: the same share by sign: tokens on which feature j is above 0.
    """

    weights: torch.Tensor
    mean_square: torch.Tensor
    activity: torch.Tensor | None = None
    positive: torch.Tensor | None = None

    @property
    def rms(self) -> torch.Tensor:
        """n_ℓj, float64 ``[languages, in]``."""
        return self.mean_square.sqrt()

    @property
    def pooled_rms(self) -> torch.Tensor:
        """n̄_j = sqrt(Σ_ℓ w_ℓ n_ℓj²), float64 ``[in]``."""
        return (self.weights @ self.mean_square).sqrt()

    def with_norms(self, norms: Norms) -> InputStatistics:
        """These statistics with ``raw`` norms n_ℓj, or ``normalised`` ones: each language's divided
        by their mean over features, so that a language with larger activations everywhere does not
        weigh more. A language of zeros stays one."""
        if norms == "raw":
            return self
        mean = self.rms.mean(dim=1, keepdim=True)
        return replace(self, mean_square=self.mean_square / mean.where(mean > 0, 1.0).square())


def settle(every: Iterable[FeatureSums]) -> None:
    """Bring sums that lie on a device to the host, in place, in float64: all in one copy."""
    away = [sums for sums in every if not sums.square.is_cpu]
    parts = [part for sums in away for part in (*sums.tensors, *sums.lost)]
    if not parts:
        return
    here = iter(torch.cat(parts).cpu().double().split([len(part) for part in parts]))
    for sums in away:
        total = [next(here) for _ in sums.tensors]
        lost = [next(here) for _ in sums.lost]
        exact = iter([a + b for a, b in zip(total, lost, strict=True)] if lost else total)
        sums.square, sums.lost = next(exact), ()
        sums.active = None if sums.active is None else next(exact)
        sums.positive = None if sums.positive is None else next(exact)


def summarise(sums: Mapping[str, FeatureSums], weights: Mapping[str, float]) -> InputStatistics:
    """Per-language sums, each of at least one token, as means under these language weights, which
    are scaled to sum to 1."""
    languages = sorted(sums)
    given = torch.tensor([weights[tag] for tag in languages], dtype=torch.float64)
    entries = [sums[tag] for tag in languages]
    squares = torch.stack([entry.square / entry.tokens for entry in entries]).cpu()
    activity = _shares([entry.active for entry in entries], entries)
    positive = _shares([entry.positive for entry in entries], entries)
    return InputStatistics(given / given.sum(), squares, activity, positive)


def _shares(
    counts: Sequence[torch.Tensor | None], entries: Sequence[FeatureSums]
) -> torch.Tensor | None:
    """Counts over tokens, ``[languages, in]``; None where a language has none."""
    pairs = zip(counts, entries, strict=True)
    known = [count / entry.tokens for count, entry in pairs if count is not None]
    return torch.stack(known).cpu() if len(known) == len(entries) else None
