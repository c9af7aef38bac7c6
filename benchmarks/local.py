"""Blocks of a pruned model fitted to the dense model's, one group after another.

Each group gets what the pruned model's blocks before it put out, fitted already, and learns to put
out what the dense model has there. The error is a token's squared distance over the squared norm of
the dense model's, so that the start token's huge states do not count alone. The last two windows of
a language are held out. Of three learning rates that one is taken which does best there after a
sixth of the steps. A group whose error held out did not fall stays as it was. Adam, a cosine, one
window a step, products in bf16; zeros stay. It writes a folder, and to standard output what each
group gained.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

import mwanda
from mwanda.model.run.decoder import MemoryDecoder
from real_models import SEEN, windows_file

RATES = (1e-5, 4e-5, 1.6e-4)
HELD_OUT = 2


def opened(folder: Path) -> MemoryDecoder:
    return MemoryDecoder(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval())


class Group:
    """Neighbouring blocks of one model, run one after another."""

    def __init__(self, decoder: MemoryDecoder, places: Sequence[int]) -> None:
        self._decoder, self._places = decoder, places
        self.modules = nn.ModuleList([decoder.blocks[place] for place in places])

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            for place in self._places:
                module = self._decoder.blocks[place]
                hidden = self._decoder.run_block(place, module, hidden)
        return hidden.float()


def error(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Mean over tokens of the squared distance over the squared norm."""
    return ((found - wanted).square().sum(-1) / wanted.square().sum(-1)).mean()


def held_out(group: Group, pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> float:
    with torch.no_grad():
        return float(sum(error(group(x), y) for x, y in pairs) / len(pairs))


def learn(
    group: Group, pairs: Sequence[tuple[torch.Tensor, torch.Tensor]], rate: float, steps: int
) -> None:
    """Steps over the pairs, in a drawn order anew at every pass; the zeros are the caller's."""
    optimizer = torch.optim.Adam(group.modules.parameters(), lr=rate)
    draw, order = random.Random(0), list[int]()
    for step in range(steps):
        if not order:
            order = draw.sample(range(len(pairs)), len(pairs))
        x, y = pairs[order.pop()]
        warm, left = min(1.0, (step + 1) / (0.1 * steps)), 1 + math.cos(math.pi * step / steps)
        optimizer.param_groups[0]["lr"] = rate * warm * left / 2
        optimizer.zero_grad()
        error(group(x), y).backward()
        optimizer.step()


def fit(
    group: Group,
    taught: Sequence[tuple[torch.Tensor, torch.Tensor]],
    watched: Sequence[tuple[torch.Tensor, torch.Tensor]],
    steps: int,
) -> tuple[float, float, float]:
    """The error before, after, and the rate taken; 0 where the group stays as it was."""
    before, start = held_out(group, watched), copy.deepcopy(group.modules.state_dict())
    probed = {}
    for rate in RATES:
        learn(group, taught, rate, max(1, steps // 6))
        probed[rate] = held_out(group, watched)
        group.modules.load_state_dict(start)
    best = min(probed, key=lambda rate: probed[rate])
    learn(group, taught, best, steps)
    after = held_out(group, watched)
    if after < before:
        return before, after, best
    group.modules.load_state_dict(start)
    return before, before, 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder with gnome/")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--dense", type=Path, required=True)
    parser.add_argument("--pruned", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--languages", type=lambda given: given.split(","), default=SEEN)
    parser.add_argument("--windows", type=int, default=24, help="of each language")
    parser.add_argument("--blocks", type=int, default=1, help="that are fitted together")
    parser.add_argument("--steps", type=int, default=300, help="of each group")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    start = time.process_time()
    tokens = load_file(windows_file(given, given.dense, given.windows, languages=given.languages))
    dense, student = opened(given.dense), opened(given.pruned)
    rows = [(ids[None], place >= len(every) - HELD_OUT)
            for every in tokens.values() for place, ids in enumerate(every)]  # fmt: skip
    with torch.no_grad():
        ours, theirs = ([one.embed(ids) for ids, _ in rows] for one in (student, dense))
    groups: list[dict[str, float]] = []
    with mwanda.keep_zeros(student.model, given.pruned):
        for first in range(0, len(dense.blocks), given.blocks):
            places = range(first, min(first + given.blocks, len(dense.blocks)))
            group, wanted = Group(student, places), Group(dense, places)
            with torch.no_grad():
                theirs = [wanted(hidden) for hidden in theirs]
            pairs = [*zip(ours, theirs, strict=True)]
            taught, watched = (
                [pair for pair, (_, held) in zip(pairs, rows, strict=True) if held == which]
                for which in (False, True)
            )
            before, after, rate = fit(group, taught, watched, given.steps)
            groups.append({"first": first, "before": before, "after": after, "rate": rate})
            print(f"blocks {places[0]} to {places[-1]}: {before:.4f} to {after:.4f}, rate {rate}, "
                  f"{time.process_time() - start:.0f} s", file=sys.stderr, flush=True)  # fmt: skip
            with torch.no_grad():
                ours = [group(hidden) for hidden in ours]
    student.model.to(torch.bfloat16).save_pretrained(given.out)
    AutoTokenizer.from_pretrained(given.pruned).save_pretrained(given.out)
    print(json.dumps({"processor": time.process_time() - start, "groups": groups}))


if __name__ == "__main__":
    main()
