"""The Gram matrix of a linear's inputs under given language weights: one for all languages.

``G = Σ_ℓ (w_ℓ / T_ℓ) Σ_t x_t x_tᵀ``: a mean over tokens in each language, then over languages. The
weights and the token counts are known before the pass, so each batch is added with its factor.
"""

from __future__ import annotations

import torch

STRIPS = 8
"""A product of n strips does (n + 1) / 2n of the work of a full one."""


class GramSums:
    """A weighted sum of outer products, additive over batches and mergeable.

    torch has no symmetric rank-k update, so the matrix is made in strips of rows, each up to the
    diagonal only; :attr:`matrix` mirrors it.

    Attributes:
        lower: ``[in, in]``, float32 (float64 for float64 inputs); right above the diagonal strips
            are zeros, and what is on and below the diagonal counts.
    """

    def __init__(self, lower: torch.Tensor) -> None:
        self.lower = lower

    @classmethod
    def empty(cls, features: int, like: torch.Tensor) -> GramSums:
        """Zeros on the device of ``like`` and in a dtype wide enough for it."""
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        return cls(torch.zeros(features, features, dtype=dtype, device=like.device))

    def add_inputs(self, inputs: torch.Tensor, factor: float) -> None:
        """Add ``factor · Σ_t x_t x_tᵀ`` of one batch of inputs ``[..., in]``."""
        x = inputs.reshape(-1, inputs.shape[-1]).to(self.lower.dtype)
        features = x.shape[1]
        step = max(64, -(-features // STRIPS))
        for start in range(0, features, step):
            end = min(start + step, features)
            strip = self.lower[start:end, :end]
            strip.addmm_(x[:, start:end].t(), x[:, :end], alpha=factor)

    @property
    def matrix(self) -> torch.Tensor:
        """The whole symmetric matrix ``[in, in]``, a new tensor."""
        lower = self.lower.tril()
        return lower + lower.tril(-1).t()

    @property
    def finite(self) -> bool:
        """No NaN and no infinity in it."""
        return bool(torch.isfinite(self.lower.diagonal()).all())
