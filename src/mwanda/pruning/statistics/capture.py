"""Hooks that read the inputs of a block's linears as its forward runs: the only file with hooks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import nn

from mwanda.errors import DataError, InputError
from mwanda.methods.gram import GramSums
from mwanda.methods.input_statistics import FeatureSums, Need, settle
from mwanda.model.run.experts import product, routing, tokens_by_expert
from mwanda.model.run.structure import Linear, expert_of

BlockSums = dict[str, dict[str, FeatureSums]]
"""Linear name -> language tag -> sums."""


class Capture:
    """Adds up statistics of every linear of one block while its forward runs.

    A batch holds one language. Linears that are fed the same tensor (query, key and value) share
    one computation, and one Gram matrix. Fused experts are no linears that could be hooked: what
    their module is called with says which tokens go to which expert, and what enters an expert's
    ``down_proj`` is computed as that module computes it; no Gram matrix is kept of them.

    Args:
        model: in which the linears' names are paths.
        factors: language -> w_ℓ / T_ℓ, for Gram matrices.
        skip: first tokens of every window that do not count anywhere.
    """

    def __init__(
        self,
        model: nn.Module,
        linears: Sequence[Linear],
        needs: Collection[Need],
        factors: Mapping[str, float] | None = None,
        skip: int = 0,
    ) -> None:
        self._plain = [linear.name for linear in linears if linear.fused is None]
        self._experts: dict[str, dict[int, list[str]]] = {}
        for linear in linears:
            if linear.fused is not None:
                path, number = linear.expert or ("", 0)
                self._experts.setdefault(path, {}).setdefault(number, []).append(linear.name)
        self._model = model
        self._needs = needs
        self._handles: list[Any] = []
        self._factors = factors or {}
        self._last: tuple[torch.Tensor, torch.Tensor, FeatureSums, str] | None = None
        self._calls: dict[str, int] = {}
        self._now: list[str] = []
        self._each_once = self._stops = False
        self._language, self._windows = "", (0, 0)
        self._skip = skip
        self.sums: BlockSums = {linear.name: {} for linear in linears}
        self.grams: dict[str, GramSums] = {}
        self.leaders: dict[str, str] = {}
        """Linear -> the first linear that is fed the same inputs, whose Gram matrix it shares."""

    def __enter__(self) -> Self:
        hooks = {path: self._expert_hook(path) for path in self._experts}
        hooks |= {name: self._hook(name) for name in self._plain}
        for path, hook in hooks.items():
            module = self._model.get_submodule(path)
            self._handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
        return self

    def __exit__(self, *_error: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._last = None

    def expect(
        self, linears: Sequence[Linear], languages: Iterable[str], device: torch.device
    ) -> None:
        """Make room for the sums of all languages, before the first forward.

        Sums live on while a forward's large tensors come and go: made one by one in between, they
        would keep the memory around them from being used again.
        """
        for tag in languages:
            for linear in linears:
                self.sums[linear.name][tag] = FeatureSums.empty(linear.columns, self._needs, device)

    def settle(self) -> None:
        """The sums are on the host from here on."""
        settle(sums for languages in self.sums.values() for sums in languages.values())

    def drop_unseen(self) -> None:
        """Take out languages of which a linear saw no token."""
        for name, languages in self.sums.items():
            self.sums[name] = {tag: sums for tag, sums in languages.items() if sums.tokens}

    def run(
        self,
        forward: Callable[[], object],
        language: str,
        windows: tuple[int, int] = (0, 0),
        *,
        whole: bool = True,
    ) -> None:
        """Run the block's forward on one batch.

        Args:
            windows: how many there are in it, and their length in tokens; needed to skip tokens.
            whole: its outputs are needed. If not, it ends where the last linear has its inputs:
                that linear's product would be made for nobody. The first batch runs whole, to see
                that each linear is called once; otherwise, and with fused experts, all do.
        """
        self._language, self._windows, self._now = language, windows, []
        self._stops = self._each_once and not whole
        try:
            forward()
        except _EnoughError:
            pass
        else:
            once = sorted(self._now) == sorted(self._plain)
            self._each_once = once and bool(self._plain) and not self._experts

    def check(self, block: int) -> None:
        """Refuse statistics that no score can be built on."""
        bad = "NaN or infinity"
        for name, languages in self.sums.items():
            thing = f"block {block}, linear {name}"
            if not languages and expert_of(name) is None:
                raise InputError(
                    thing, expected="a linear that the forward calls", found="no input at all",
                    fix="leave it out with --exclude",
                )  # fmt: skip
            for tag, sums in languages.items():
                if not sums.finite:
                    raise DataError(
                        f"{thing}, language {tag}", expected="finite activations", found=bad,
                        fix="check the weights, or compute in float32 with --compute-dtype float32",
                    )  # fmt: skip
        self.check_sharing()
        for name, leader in self.leaders.items():
            if not self.grams[leader].finite:
                raise DataError(
                    f"block {block}, linear {name}", expected="finite products of activations",
                    found=bad, fix="compute in float32 with --compute-dtype float32",
                )  # fmt: skip

    def check_sharing(self) -> None:
        """Refuse a linear that was fed another one's inputs in some batches only."""
        for name, leader in self.leaders.items():
            if self._calls.get(name) != self._calls.get(leader):
                raise _unsteady(name)

    def _hook(self, name: str) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            inputs = args[0] if args else kwargs["input"]
            if self._last is None or self._last[0] is not inputs:
                counted = counted_tokens(name, inputs, self._windows, self._skip)
                self._last = (inputs, counted, FeatureSums.of(counted, self._needs), name)
            _, counted, fresh, leader = self._last
            if "gram" in self._needs:
                self._add_gram(name, leader, counted)
            self._add(name, fresh)
            self._now.append(name)
            if self._stops and len(self._now) == len(self._plain):
                raise _EnoughError

        return hook

    def _expert_hook(self, path: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            hidden, chosen = routing(module, args, kwargs)
            hidden = counted_tokens(path, hidden, self._windows, self._skip)
            chosen = counted_tokens(path, chosen, self._windows, self._skip)
            found = tokens_by_expert(chosen, max(self._experts[path]) + 1)
            for expert, names in self._experts[path].items():
                tokens = found[expert]
                if not len(tokens):
                    continue
                inputs = hidden[tokens]
                fresh: FeatureSums | None = None
                for name in names:
                    if name.endswith(".down_proj"):
                        made = product(module, expert, inputs)
                        self._add(name, FeatureSums.of(made, self._needs))
                    else:
                        fresh = fresh or FeatureSums.of(inputs, self._needs)
                        self._add(name, fresh)

        return hook

    def _add(self, name: str, fresh: FeatureSums) -> None:
        known = self.sums[name].get(self._language)
        if known is None:
            self.sums[name][self._language] = fresh.copy()
        else:
            known.add(fresh)

    def _add_gram(self, name: str, leader: str, inputs: torch.Tensor) -> None:
        if self.leaders.setdefault(name, leader) != leader:
            raise _unsteady(name)
        self._calls[name] = self._calls.get(name, 0) + 1
        if leader == name:
            if name not in self.grams:
                self.grams[name] = GramSums.empty(inputs.shape[-1], inputs)
            factor = self._factors[self._language]
            if factor:
                self.grams[name].add_inputs(inputs, factor)
        else:
            self.grams[name] = self.grams[leader]


class _EnoughError(Exception):
    """Every linear has its inputs."""


def _unsteady(name: str) -> InputError:
    expected = "inputs that are, or are not, another linear's in every batch"
    fix = "leave it out with --exclude, or use no reconstruction"
    return InputError(f"linear {name}", expected=expected, found="some of each", fix=fix)


def counted_tokens(
    name: str, inputs: torch.Tensor, windows: tuple[int, int], skip: int
) -> torch.Tensor:
    """Inputs without the first ``skip`` tokens of every window.

    Args:
        name: of the linear, or of the module that routes all tokens to its experts.
        inputs: ``[windows, tokens, ..., in]``, or flat, ``[windows · tokens, in]``, window after
            window.
        windows: number and length of the batch's windows.
        skip: 0 takes them all, and asks nothing of the shape.

    Returns:
        ``inputs`` itself or ``[windows, tokens - skip, ..., in]``, flat again if it was flat.
    """
    if not skip:
        return inputs
    count, length = windows
    flat = inputs.dim() == 2 and len(inputs) == count * length
    whole = flat or (inputs.dim() > 2 and inputs.shape[:2] == windows)
    if not whole or expert_of(name) is not None:
        raise InputError(
            f"{name}, --skip-first-tokens {skip}",
            expected=f"inputs of every token, {count} windows of {length}",
            found=f"inputs of shape {list(inputs.shape)}, whose positions are not known",
            fix="leave it out with --exclude, or count all tokens",
        )
    if not flat:
        return inputs[:, skip:]
    counted: torch.Tensor = inputs.unflatten(0, windows)[:, skip:].flatten(0, 1)
    return counted
