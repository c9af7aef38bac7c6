"""A GGUF file and its trim in llama.cpp: are tokens and logits the same, and how fast is each?

Runs in an environment that has ``llama-cpp-python``; called by ``trimming.py --llama PYTHON``.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

import numpy as np
from llama_cpp import Llama

LOGITS, NEW, ROUNDS = 3, 48, 3
"""Sentences a language whose logits are compared; tokens and rounds of decoding."""


def main(whole: str, trimmed: str, given: str) -> None:
    """Args: both files, and a JSON of ``rows`` (new id -> old id) and ``sentences`` by language."""
    with open(given, encoding="utf-8") as file:
        asked = json.load(file)
    rows, models = asked["rows"], {}
    for name, path in (("whole", whole), ("trimmed", trimmed)):
        models[name] = Llama(path, n_ctx=1024, logits_all=True, verbose=False, n_threads=1)
    count = same = 0
    worst = 0.0
    for sentences in asked["sentences"].values():
        for number, sentence in enumerate(sentences):
            old, new = (model.tokenize(sentence.encode()) for model in models.values())
            alike = old == [rows[one] for one in new]
            count, same = count + 1, same + alike
            if alike and number < LOGITS:
                before = logits(models["whole"], old)[:, rows]
                after = logits(models["trimmed"], new)
                worst = max(worst, float(np.abs(before - after).max()))
    speeds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(ROUNDS):
        for name, model in models.items():
            speeds[name].append(speed(model))
    told = {name: statistics.median(values) for name, values in speeds.items()}
    print(json.dumps({"sentences": count, "same": same, "logits": worst, "tokens": told}))


def logits(model: Any, ids: list[int]) -> Any:
    model.reset()
    model.eval(ids)
    return np.array(model.scores[: len(ids)])


def speed(model: Any) -> float:
    model.reset()
    ids = model.tokenize(b"1")
    model.eval(ids)
    start = time.perf_counter()
    for _ in range(NEW):
        model.eval(ids[-1:])
    return NEW / (time.perf_counter() - start)


if __name__ == "__main__":
    main(*sys.argv[1:4])
