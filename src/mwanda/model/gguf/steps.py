"""transformers' steps from the numbers in a GGUF file to a parameter's, for one at a time."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from mwanda.model.gguf.header import GgufHeader

Numbers = npt.NDArray[np.float32]


def choose_steps(header: GgufHeader, told: Mapping[str, Any], model: Any) -> Steps:
    """transformers' steps for an architecture, of which it was ``told``, and a skeleton."""
    from transformers.integrations.gguf import GGUF_ARCHS

    if header.architecture in GGUF_ARCHS:
        return _Operations(header, model)
    return _Processor(header, told, model)


class _Processor:
    """Architectures for which transformers has a processor of NumPy arrays, or none."""

    def __init__(self, header: GgufHeader, told: Mapping[str, Any], model: Any) -> None:
        from transformers import modeling_gguf_pytorch_utils as gguf

        kind = gguf.TENSOR_PROCESSORS.get(header.architecture, gguf.TensorProcessor)
        self._processor = kind(config=dict(told))
        self._names: dict[str, str] = gguf.get_gguf_hf_weights_map(_Shallow(model), self._processor)

    def target(self, name: str) -> str | None:
        """The parameter that a tensor of the file belongs to, None for none."""
        return self._names.get(name) or self._names.get(name.removesuffix(".weight"))

    def make(self, target: str, parts: Mapping[str, Numbers]) -> torch.Tensor:
        """A parameter of its tensors in the file, or some of its experts of theirs."""
        beside: dict[str, Any] = {"tensors": {}}
        for name, values in parts.items():
            done = self._processor.process(
                weights=values, name=name, tensor_key_mapping=self._names, parsed_parameters=beside
            )
            if done.name is not None:
                return torch.from_numpy(np.ascontiguousarray(done.weights))
        (made,) = beside["tensors"].values()
        return torch.as_tensor(made)


class _Shallow:
    """A model to name the weights of: it and two levels of its parts.

    Deeper ones have no names of their own in a GGUF file, and each takes a table of all names.
    """

    def __init__(self, module: Any, levels: int = 2) -> None:
        self._module = module
        self._levels = levels
        self.config = getattr(module, "config", None)

    def state_dict(self) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = self._module.state_dict()
        return found

    def named_children(self) -> list[tuple[str, _Shallow]]:
        if not self._levels:
            return []
        return [
            (name, _Shallow(one, self._levels - 1)) for name, one in self._module.named_children()
        ]


class _Operations:
    """Architectures that transformers converts by operations on tensors."""

    def __init__(self, header: GgufHeader, model: Any) -> None:
        from transformers.core_model_loading import WeightConverter, WeightRenaming
        from transformers.integrations.gguf import get_gguf_conversion_mapping

        steps = get_gguf_conversion_mapping(header.architecture, model.config)
        self._renamings = [one for one in steps if isinstance(one, WeightRenaming)]
        self._converters = [one for one in steps if isinstance(one, WeightConverter)]
        self._model = model
        self._known = model.state_dict()

    def target(self, name: str) -> str | None:
        return self._renamed(name)[0]

    def make(self, target: str, parts: Mapping[str, Numbers]) -> torch.Tensor:
        used = None
        for name, values in parts.items():
            _, pattern = self._renamed(name)
            if pattern is None:
                return torch.from_numpy(values)
            found = next(one for one in self._converters if pattern in one.source_patterns)
            used = used or copy.deepcopy(found)
            used.add_tensor(target, name, pattern, torch.from_numpy(values))
        if used is None:
            raise ValueError(f"nothing for {target}")
        made = used.convert(target, model=self._model, config=self._model.config)
        (values,) = made.values()
        return torch.as_tensor(values[0] if isinstance(values, list) else values)

    def _renamed(self, name: str) -> tuple[str, str | None]:
        from transformers.core_model_loading import rename_source_key

        prefix = self._model.base_model_prefix
        found: tuple[str, str | None] = rename_source_key(
            name, self._renamings, self._converters, prefix, self._known
        )
        return found


Steps: TypeAlias = _Processor | _Operations
"""From the numbers in a file to a parameter's."""
