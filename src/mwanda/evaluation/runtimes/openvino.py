"""OpenVINO: the folder that its exporter writes, with or without a key-value cache in the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mwanda.evaluation.runtimes.registry import not_an
from mwanda.evaluation.runtimes.runtime import Asked, Runtime, forwards, losses_of, unopened
from mwanda.evaluation.token_batches import Piece

FILE = "openvino_model.xml"
CHUNK = 256
"""Tokens of one forward of a model that keeps what came before."""

PRECISIONS = {"auto": "f32", "float32": "f32", "bfloat16": "bf16", "float16": "f16"}
"""Compute dtypes as OpenVINO calls them; another one is told to be unknown by itself."""


def open_artefact(asked: Asked) -> Runtime:
    """A folder with ``openvino_model.xml`` and its weights."""
    import openvino

    path = asked.path / FILE
    if not path.is_file():
        raise not_an("openvino", asked)
    precision = PRECISIONS.get(asked.options.compute_dtype, asked.options.compute_dtype)
    device = "GPU" if asked.on_gpu else "CPU"
    how = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": asked.threads}
    try:
        model = openvino.Core().read_model(path)
        weights = _weights(model)
        compiled = openvino.Core().compile_model(model, device, how)
    except RuntimeError as error:
        raise unopened(asked, "OpenVINO", error) from error
    return OpenVino(compiled, weights, precision, asked)


class OpenVino(Runtime):
    """A compiled model."""

    def __init__(self, compiled: Any, weights: str, precision: str, asked: Asked) -> None:
        self._request, self._asked = compiled.create_infer_request(), asked
        self.vocabulary = _vocabulary(compiled)
        self._inputs = {name for one in compiled.inputs for name in one.get_names()}
        stateful = bool(self._request.query_state())
        self._chunk = CHUNK if stateful else asked.max_length
        self.told = {
            "quantisation": weights, "computes_in": precision, "device": asked.options.device,
            "threads": asked.threads, **_own_quantisation(compiled),
        }  # fmt: skip

    def losses(self, pieces: Sequence[Piece]) -> Iterator[Sequence[float]]:
        for piece in pieces:
            self._request.reset_state()
            found: list[float] = []
            for start in range(0, len(piece.ids) - 1, self._chunk):
                end = min(start + self._chunk, len(piece.ids) - 1)  # the last predicts nothing
                with forwards(self._asked, "OpenVINO"):
                    logits = self._logits(piece.ids, start, end)
                first = max(start, piece.first - 1)
                found += losses_of(logits[first - start :], piece.ids[first + 1 : end + 1])
            yield found

    def _logits(self, ids: Sequence[int], start: int, end: int) -> Any:
        """``[end - start, vocabulary]``: what each of these predicts; all before is held."""
        given = {
            "input_ids": np.array([ids[start:end]], np.int64),
            "attention_mask": np.ones((1, end), np.int64),
            "position_ids": np.arange(start, end, dtype=np.int64)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        self._request.infer({name: one for name, one in given.items() if name in self._inputs})
        return self._request.get_tensor("logits").data[0]


def _vocabulary(compiled: Any) -> int | None:
    """Columns of the logits; None where the model leaves them open."""
    for one in compiled.outputs:
        if "logits" in one.get_names():
            last = one.get_partial_shape()[-1]
            return int(last.get_length()) if last.is_static else None
    return None


def _own_quantisation(compiled: Any) -> dict[str, str]:
    """What OpenVINO quantises by itself while it computes, by its own names."""
    found = {}
    for name in ("KV_CACHE_PRECISION", "DYNAMIC_QUANTIZATION_GROUP_SIZE"):
        try:
            found[name.lower()] = str(compiled.get_property(name))
        except RuntimeError:  # a device without it
            continue
    return found


def _weights(model: Any) -> str:
    """Shares of the weights by the type they are stored in: ``i8 94 %, f32 6 %``."""
    counts: Counter[str] = Counter()
    for node in model.get_ops():
        if node.get_type_name() == "Constant":
            size = int(np.prod([*node.get_output_shape(0)]))
            counts[node.get_output_element_type(0).get_type_name()] += size
    total = sum(counts.values()) or 1
    shares = [(name, round(100 * count / total)) for name, count in counts.most_common()]
    return ", ".join(f"{name} {share} %" for name, share in shares if share)
