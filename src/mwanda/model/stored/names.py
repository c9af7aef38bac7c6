"""Tensor names: the module's own against the checkpoint's.

A checkpoint saved from the bare backbone lacks the prefix that the causal model puts before it
(GPT-2 and BLOOM on the hub: ``h.0...`` for ``transformer.h.0...``); the reverse happens too. What
is written always carries the checkpoint's own names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from mwanda.errors import InputError


class NameMap:
    """From a parameter's name in the module to its name in the checkpoint.

    Args:
        prefix: transformers' ``base_model_prefix`` (``model``, ``transformer``).
        source: what to call the checkpoint in messages.
    """

    def __init__(self, checkpoint: Collection[str], prefix: str, source: str) -> None:
        self._names = checkpoint
        self._prefix = f"{prefix}." if prefix else ""
        self._source = source

    def find(self, name: str) -> str | None:
        """The checkpoint's name for one module parameter, None when it is not stored."""
        candidates = (name, f"{self._prefix}{name}", name.removeprefix(self._prefix))
        return next((c for c in candidates if c in self._names), None)

    def require(self, names: Iterable[str]) -> str:
        """The checkpoint's name for one weight that may go by several names (tied weights)."""
        aliases = list(names)
        for found in map(self.find, aliases):
            if found is not None:
                return found
        example = next(iter(self._names), "nothing")
        raise InputError(
            f"{self._source}: tensor {aliases[0]}",
            expected="every weight of the model class to be stored",
            found=f"no tensor of that name (stored names look like {example})",
            fix="the folder may be incomplete or belong to another architecture",
        )
