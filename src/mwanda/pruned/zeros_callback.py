"""Zeros that stay zero under transformers' Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from mwanda.pruned.zeros import Masks, find_masks
from mwanda.pruned.zeros_adapters import guard_merges


class KeepZeros(TrainerCallback):
    """A callback for ``Trainer(callbacks=[mwanda.KeepZeros()])``: zeros stay zero.

    What is zero when the training begins is set to zero after every step of the optimizer, before
    anything is evaluated or saved. Under adapters of peft they are zero again after every merge,
    also one after the training.

    Args:
        folder: as of :func:`mwanda.keep_zeros`.

    Attributes:
        masks: while training; None before and after.

    Raises:
        InputError, DataError: when the training begins, as :func:`mwanda.keep_zeros`.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self._folder = folder
        self.masks: Masks | None = None

    def on_train_begin(self, *args: Any, model: Any = None, **kwargs: Any) -> None:
        """See where the zeros are."""
        self.masks = find_masks(model, self._folder)
        guard_merges(model, self.masks.bits_of)

    def on_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Set them to zero again."""
        if self.masks is not None:
            self.masks.apply()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """Let the masks go."""
        self.masks = None
