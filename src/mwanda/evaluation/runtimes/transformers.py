"""transformers itself, the whole model in memory: for folders that are quantised in one of its
ways, which cannot be read block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from mwanda.errors import InputError
from mwanda.evaluation.runtimes.registry import not_an
from mwanda.evaluation.runtimes.runtime import SLICE, Asked, Runtime, forwards, said_of
from mwanda.evaluation.token_batches import Piece
from mwanda.model.run.context import context_length
from mwanda.model.run.plain_outputs import PlainOutputs
from mwanda.model.run.skeleton import auto_class, load_config, quantisation_of
from mwanda.system.device import DTYPES, choose_device, computes_on_host, dtype_name
from mwanda.system.surroundings import building

UNPACKED = "compressed-tensors"
"""A way of quantising that has no products of its own: the first forward unpacks the weights."""


def open_artefact(asked: Asked) -> Runtime:
    """A model folder, plain or quantised."""
    if not (asked.path / "config.json").is_file():
        raise not_an("transformers", asked)
    trust = asked.options.trust_remote_code
    config = load_config(asked.path, trust_remote_code=trust, quantised=True)
    method = quantisation_of(config)
    chosen = asked.options.compute_dtype
    device = choose_device(asked.options.device)
    # A quantised model names the dtype of its scales. Another one is measured on a CPU in float32,
    # and so is one that is unpacked anyway: without bf16 units it takes half as long.
    named = method not in (None, UNPACKED) or not computes_on_host(device)
    dtype: Any = "auto" if chosen == "auto" and named else DTYPES.get(chosen, torch.float32)
    try:
        with building():
            model = auto_class(config).from_pretrained(
                asked.path, dtype=dtype, trust_remote_code=trust, local_files_only=True,
                device_map=str(device) if method else None,
            )  # fmt: skip
    except (ImportError, RuntimeError, ValueError, OSError, KeyError, AttributeError) as error:
        raise InputError(
            asked.artefact, expected=f"a model that transformers loads ({method or 'plain'})",
            found=said_of(error), fix="install what its quantisation needs, or check the files",
        ) from error  # fmt: skip
    return Whole(model.to(device).eval() if method is None else model.eval(), method, asked)


class Whole(Runtime):
    """A model in memory."""

    def __init__(self, model: Any, method: str | None, asked: Asked) -> None:
        self._model, self._asked, self._plainly = model, asked, PlainOutputs(model)
        self.vocabulary = int(model.get_input_embeddings().weight.shape[0])
        self.context_length = context_length(model.config, model)
        self.told = {
            "quantisation": method or "none",
            "computes_in": dtype_name(model.dtype),
            "device": model.device.type,
            "threads": torch.get_num_threads(),
        }

    @torch.no_grad()
    def losses(self, pieces: Sequence[Piece]) -> Iterator[Sequence[float]]:
        for piece in pieces:
            ids = torch.tensor([piece.ids[:-1]], device=self._model.device)
            with forwards(self._asked, "transformers"), self._plainly():
                logits = self._model(input_ids=ids, use_cache=False).logits[0, piece.first - 1 :]
            targets = torch.tensor(piece.ids[piece.first :], device=logits.device)
            found: list[float] = []
            for start in range(0, len(targets), SLICE):
                part = logits[start : start + SLICE].float()
                wanted = targets[start : start + SLICE]
                found += torch.nn.functional.cross_entropy(part, wanted, reduction="none").tolist()
            yield found
