"""llama.cpp: a GGUF file, by the library llama-cpp-python, through llama.cpp's own functions."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mwanda.errors import DataError
from mwanda.evaluation.runtimes.registry import not_an
from mwanda.evaluation.runtimes.runtime import Asked, Runtime, losses_of, unopened
from mwanda.evaluation.token_batches import Piece
from mwanda.model.given import is_gguf

BATCH = 128
"""Tokens of one call: it holds logits of so many positions."""

ALL_LAYERS = 999


def open_artefact(asked: Asked) -> Runtime:
    """A GGUF file of any quantisation; its keys and values are kept in f16, as llama.cpp does."""
    import llama_cpp

    if not is_gguf(asked.path):
        raise not_an("llama.cpp", asked)
    llama_cpp.llama_backend_init()
    llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))
    how = llama_cpp.llama_model_default_params()
    how.n_gpu_layers = ALL_LAYERS if asked.on_gpu else 0
    model = llama_cpp.llama_model_load_from_file(str(asked.path).encode(), how)
    if not model:
        raise unopened(asked, "llama.cpp", RuntimeError("llama.cpp refused the file"))
    trained = int(llama_cpp.llama_model_n_ctx_train(model))
    most = min(asked.max_length, trained) if trained > 0 else asked.max_length
    room = llama_cpp.llama_context_default_params()
    room.n_ctx, room.n_batch, room.n_ubatch = most, BATCH, BATCH
    room.n_threads = room.n_threads_batch = asked.threads
    context = llama_cpp.llama_init_from_model(model, room)
    if not context:
        llama_cpp.llama_model_free(model)
        error, fix = RuntimeError("no room for its context"), "give fewer tokens with --max-length"
        raise unopened(asked, "llama.cpp", error, fix)
    return LlamaCpp(llama_cpp, model, context, most, asked)


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)  # type: ignore[untyped-decorator]
def _silent(_level: int, _text: bytes, _data: Any) -> None:
    """What llama.cpp has to say while it loads goes nowhere."""


class LlamaCpp(Runtime):
    """A loaded file, and a context on it."""

    def __init__(self, library: Any, model: Any, context: Any, most: int, asked: Asked) -> None:
        self._library, self._model, self._context = library, model, context
        self._vocabulary = library.llama_model_get_vocab(model)
        self._name = asked.artefact
        self._width = int(library.llama_vocab_n_tokens(self._vocabulary))
        self.vocabulary, self.context_length = self._width, most
        described = ctypes.create_string_buffer(256)
        library.llama_model_desc(model, described, len(described))
        self.told = {
            "quantisation": described.value.decode(errors="replace"),
            "keys_and_values": "f16",
            "device": asked.options.device,
            "threads": asked.threads,
        }

    def losses(self, pieces: Sequence[Piece]) -> Iterator[Sequence[float]]:
        batch = self._library.llama_batch_init(BATCH, 0, 1)
        try:
            for piece in pieces:
                yield self._losses(batch, piece)
        finally:
            self._library.llama_batch_free(batch)

    def _losses(self, batch: Any, piece: Piece) -> list[float]:
        library, found = self._library, list[float]()
        library.llama_memory_clear(library.llama_get_memory(self._context), True)
        for start in range(0, len(piece.ids) - 1, BATCH):
            part = piece.ids[start : min(start + BATCH, len(piece.ids) - 1)]
            batch.n_tokens = len(part)
            for place, token in enumerate(part):
                batch.token[place], batch.pos[place] = token, start + place
                batch.n_seq_id[place], batch.seq_id[place][0] = 1, 0
                batch.logits[place] = start + place >= piece.first - 1
            if (code := library.llama_decode(self._context, batch)) != 0:
                raise DataError(
                    self._name, expected="a forward of llama.cpp", found=f"its error {code}",
                    fix="give fewer tokens with --max-length",
                )  # fmt: skip
            wanted = [place for place in range(len(part)) if batch.logits[place]]
            rows = [self._row(place) for place in wanted]
            if rows:
                found += losses_of(np.stack(rows), [piece.ids[start + p + 1] for p in wanted])
        return found

    def _row(self, place: int) -> Any:
        held = self._library.llama_get_logits_ith(self._context, place)
        if not held:
            raise DataError(self._name, expected="logits of llama.cpp", found="none")
        return np.ctypeslib.as_array(held, shape=(self._width,))

    def own_ids(self, text: str) -> Sequence[int]:
        raw = text.encode()
        room = (self._library.llama_token * (len(raw) + 8))()
        count = self._library.llama_tokenize(
            self._vocabulary, raw, len(raw), room, len(room), False, False
        )
        return list(room[: max(0, count)])

    def close(self) -> None:
        self._library.llama_free(self._context)
        self._library.llama_model_free(self._model)
