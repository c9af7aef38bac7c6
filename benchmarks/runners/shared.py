"""What the runners share. Imported first, so that the clock starts before anything heavy loads."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

START = time.perf_counter()


class Clock:
    """Seconds by stage; the first stage began when this file was read."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = START

    def lap(self, stage: str) -> None:
        """Give the time since the last lap to ``stage``."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now

    def report(self, **more: Any) -> None:
        """Print the stages as the last line of output."""
        print("\n" + json.dumps({"seconds": self.seconds, **more}), flush=True)


def arguments(description: str | None) -> argparse.Namespace:
    """The options every runner takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--windows", type=Path, required=True, help="of every language")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="where a pruned model goes")
    return parser.parse_args()


def opened(clock: Clock, given: argparse.Namespace) -> tuple[Any, torch.Tensor]:
    """The model in float32, and the token ids of all languages, ``int64 [windows, length]``, in the
    file's order of names. Until here everything counts as imports."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(given.threads)
    clock.lap("import")
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32).eval()
    by_language = load_file(given.windows)
    ids = torch.cat([by_language[name] for name in sorted(by_language)])
    clock.lap("load")
    return model, ids


def saved(clock: Clock, given: argparse.Namespace, model: Any, tokenizer: Any = None) -> None:
    """Write a pruned model with its tokenizer, read where it was not, and report."""
    from transformers import AutoTokenizer

    clock.lap("prune")
    model.save_pretrained(given.out)
    tokenizer = tokenizer or AutoTokenizer.from_pretrained(given.model)
    tokenizer.save_pretrained(given.out)
    clock.lap("save")
    clock.report()
