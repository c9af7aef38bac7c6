"""GGUF files in llama.cpp, in an environment that has ``llama-cpp-python``; called by
``trimming.py --llama PYTHON``. Given one file: how fast is it? Given a file, its trim and a JSON of
``rows`` (new id -> old id) and ``sentences`` by language: are tokens and logits the same?
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
from llama_cpp import Llama

LOGITS, NEW = 9, 64
"""Sentences whose logits are compared; tokens of decoding."""


def compared(whole: str, trimmed: str, given: str) -> dict[str, Any]:
    with open(given, encoding="utf-8") as file:
        asked = json.load(file)
    rows = asked["rows"]
    models = [Llama(path, n_ctx=1024, logits_all=True, verbose=False, n_threads=1)
              for path in (whole, trimmed)]  # fmt: skip
    sentences = [one for texts in asked["sentences"].values() for one in texts]
    same, worst = 0, 0.0
    for number, sentence in enumerate(sentences):
        old, new = (model.tokenize(sentence.encode()) for model in models)
        alike = old == [rows[one] for one in new]
        same += alike
        if alike and number % (len(sentences) // LOGITS) == 0:
            before, after = (logits(*one) for one in zip(models, (old, new), strict=True))
            worst = max(worst, float(np.abs(before[:, rows] - after).max()))
    return {"sentences": len(sentences), "same": same, "logits": worst}


def logits(model: Any, ids: list[int]) -> Any:
    model.reset()
    model.eval(ids)
    return np.array(model.scores[: len(ids)])


def decoded(path: str) -> dict[str, float]:
    start = time.perf_counter()
    model = Llama(path, n_ctx=256, verbose=False, n_threads=1)
    loaded = time.perf_counter() - start
    ids = model.tokenize(b"1")
    model.eval(ids)
    start = time.perf_counter()
    for _ in range(NEW):
        model.eval(ids[-1:])
    return {"load": loaded, "tokens": NEW / (time.perf_counter() - start)}


if __name__ == "__main__":
    print(json.dumps(compared(*sys.argv[1:]) if sys.argv[2:] else decoded(sys.argv[1])))
