"""Hooks that read the inputs of a block's linears as its forward runs: the only file with hooks."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

from mwanda.errors import DataError, InputError
from mwanda.statistics.sums import FeatureSums, Need

__all__ = ["BlockSums", "Capture"]

BlockSums = dict[str, dict[str, FeatureSums]]
"""Linear name -> language tag -> sums."""


class Capture:
    """Adds up statistics of every linear of one block while its forward runs.

    Set :attr:`language` before each batch; a batch holds one language. Linears that are fed the
    same tensor (query, key and value) share one computation.

    Args:
        model: the model that the names are paths in.
        names: module paths of the linears to watch.
        needs: which sums to keep.
    """

    def __init__(self, model: nn.Module, names: Iterable[str], needs: Collection[Need]) -> None:
        self._modules = {name: model.get_submodule(name) for name in names}
        self._needs = needs
        self._handles: list[Any] = []
        self._last: tuple[torch.Tensor, FeatureSums] | None = None
        self.language = ""
        self.sums: BlockSums = {name: {} for name in self._modules}

    def __enter__(self) -> Self:
        for name, module in self._modules.items():
            handle = module.register_forward_pre_hook(self._hook(name), with_kwargs=True)
            self._handles.append(handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._last = None

    def check(self, block: int) -> None:
        """Refuse statistics that no score can be built on.

        Raises:
            DataError: a NaN or infinity, named by block, linear and language.
            InputError: a linear that the forward never called.
        """
        for name, languages in self.sums.items():
            if not languages:
                raise InputError(
                    f"block {block}, linear {name}",
                    expected="a linear that the forward calls",
                    found="no input at all",
                    fix="leave it out with --exclude",
                )
            for tag, sums in languages.items():
                if not sums.finite:
                    raise DataError(
                        f"block {block}, linear {name}, language {tag}",
                        expected="finite activations",
                        found="NaN or infinity",
                        fix="check the weights, or compute in float32 with --compute-dtype float32",
                    )

    def _hook(self, name: str) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            inputs = args[0] if args else kwargs["input"]
            if self._last is None or self._last[0] is not inputs:
                self._last = (inputs, FeatureSums.of(inputs, self._needs))
            fresh = self._last[1]
            known = self.sums[name].get(self.language)
            if known is None:
                self.sums[name][self.language] = fresh.copy()
            else:
                known.add(fresh)

        return hook
