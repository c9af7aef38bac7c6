"""Fields of a config, which in some families differ from layer to layer."""

from __future__ import annotations

from typing import Any


def layer_values(config: Any, name: str, layers: int) -> list[Any]:
    """A field's value in every layer, None where a layer has no such field.

    transformers refuses to read from the whole config, a text decoder's, what its layers may have
    each their own value of (Gemma 4's ``head_dim``).
    """
    each = getattr(config, "per_layer_config", None)
    if each is None or not getattr(config, "is_heterogeneous", False):
        return [getattr(config, name, None)] * layers
    return [getattr(each[index], name, None) for index in range(layers)]
