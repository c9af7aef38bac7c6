"""Trim a tiny model of every causal class of transformers and say what became of it.

Usage: ``python tools/trim_classes.py [CLASS ...]``. Ends with an error where a tensor with a row
for every token is left whole, or where the trimmed model gives other logits. A few minutes on one
core; no network.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import transformers
from tests.support.trim_walk import trimmed
from tests.support.walk import classes


def main(names: list[str]) -> None:
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    found: Counter[str] = Counter()
    for name, model_type in classes().items():
        if names and name not in names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                status, what = trimmed(model_type, Path(folder))
            except Exception as error:  # noqa: BLE001 - the other classes are wanted all the same
                status, what = "WRONG", f"{type(error).__name__} {error}"
        found[status] += 1
        print(f"{name}: {status}: {what}", flush=True)
    print(", ".join(f"{count} {status}" for status, count in found.items()))
    if found["WRONG"]:
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
