"""What a config may ask of every forward beside logits: not asked while mwanda runs a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

PLAIN: dict[str, bool] = {
    "return_dict": True,
    "torchscript": False,
    "use_cache": False,
    "output_hidden_states": False,
    "output_attentions": False,
    "_output_attentions": False,
    "output_cross_attentions": False,
    "output_router_logits": False,
    "output_router_probs": False,
    "add_router_probs": False,
}
"""Fields of a config that change what a forward returns and not what it computes."""


class PlainOutputs:
    """Makes a model's forwards return their outputs by name and nothing beside them.

    Every module may hold a config of its own: the wrapper, the text decoder inside, a copy.
    """

    def __init__(self, model: nn.Module) -> None:
        configs = (getattr(module, "config", None) for module in model.modules())
        found: dict[int, dict[str, Any]] = {}
        for config in configs:
            # By the fields themselves: a setter may refuse a value or set others.
            if hasattr(config, "__dict__") and hasattr(config, "to_dict"):
                found.setdefault(id(config), vars(config))
        self._fields = list(found.values())

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """The configs ask for nothing inside, and are as they were after."""
        asked = [
            (fields, name, fields[name])
            for fields in self._fields
            for name, plain in PLAIN.items()
            if name in fields and fields[name] is not plain
        ]
        try:
            for fields, name, _ in asked:
                fields[name] = PLAIN[name]
            yield
        finally:
            for fields, name, value in asked:
                fields[name] = value
