"""CTranslate2: the folder that its converter writes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mwanda.evaluation.runtimes.registry import not_an
from mwanda.evaluation.runtimes.runtime import Asked, Runtime, forwards, losses_of, unopened
from mwanda.evaluation.token_batches import Piece

VOCABULARY = "vocabulary.json"


def open_artefact(asked: Asked) -> Runtime:
    """A folder with ``model.bin`` of a generator; all logits of a piece are held at once."""
    import ctranslate2

    if not asked.path.is_dir() or not ctranslate2.contains_model(asked.artefact):
        raise not_an("ctranslate2", asked)
    chosen = asked.options.compute_dtype
    try:
        generator = ctranslate2.Generator(
            asked.artefact, device="cuda" if asked.on_gpu else "cpu",
            compute_type="default" if chosen == "auto" else chosen,
            inter_threads=1, intra_threads=asked.threads,
        )  # fmt: skip
    except (RuntimeError, ValueError) as error:
        fix = "" if chosen == "auto" else "choose another --compute-dtype, or none"
        raise unopened(asked, "CTranslate2", error, fix) from error
    return CTranslate2(generator, asked)


class CTranslate2(Runtime):
    """A generator."""

    def __init__(self, generator: Any, asked: Asked) -> None:
        self._generator, self._asked = generator, asked
        self.vocabulary = _size(asked.path / VOCABULARY)
        self.told = {
            "quantisation": generator.compute_type, "device": asked.options.device,
            "threads": asked.threads,
        }  # fmt: skip

    def losses(self, pieces: Sequence[Piece]) -> Iterator[Sequence[float]]:
        for piece in pieces:
            with forwards(self._asked, "CTranslate2"):
                made = self._generator.forward_batch([list(piece.ids[:-1])])
                logits = np.array(made.to_device(_cpu()) if made.device != "cpu" else made)[0]
            yield losses_of(logits[piece.first - 1 :], piece.ids[piece.first :])


def _cpu() -> Any:
    from ctranslate2 import Device

    return Device.cpu


def _size(path: Path) -> int | None:
    """How many tokens a vocabulary lists; None where it is kept in another file."""
    try:
        return len(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
