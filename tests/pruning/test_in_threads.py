"""Several threads of one process at once, and what a call leaves behind in it."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

import mwanda
from mwanda import RunOptions
from mwanda.model.run.skeleton import build_skeleton, load_config
from tests.pruning.pipeline.helpers import Tiny, shard_bytes, tensors, windows_object
from tests.support.shrink import tiny_config
from tests.support.text import write_corpus

UNIFORM = {"criterion": "wanda", "allocation": "uniform"}
FAMILIES = ("llama", "gemma3", "bloom", "gpt2")


def process_state() -> dict[str, Any]:
    """What belongs to the whole process, and to whoever called."""
    return {
        "register": nn.Module.register_parameter,
        "dtype": torch.get_default_dtype(),
        "of dtypes": (torch.get_default_dtype, torch.set_default_dtype),
        "device": torch.empty(0).device,
        "grad": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "random": torch.random.get_rng_state().tolist(),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "filters": list(warnings.filters),
        "levels": [logging.getLogger(name).level for name in ("", "mwanda", "transformers")],
        "sigint": signal.getsignal(signal.SIGINT),
        "sigterm": signal.getsignal(signal.SIGTERM),
    }


def test_threads_do_not_disturb_one_another(tiny: Tiny, tmp_path: Path) -> None:
    """Eight prunes in four threads, of two compute dtypes: each as if it were alone."""
    sources = {family: tiny(family) for family in FAMILIES}

    def work(place: int, out: str) -> dict[str, bytes]:
        family = FAMILIES[place % len(FAMILIES)]
        options = RunOptions(compute_dtype=("float32", "bfloat16")[place % 2])
        mwanda.prune(sources[family], out=tmp_path / f"{out}-{place}", options=options,
                     calibration=windows_object(), **UNIFORM)  # fmt: skip
        assert next(nn.LayerNorm(2).parameters()).device.type == "cpu"
        return shard_bytes(tmp_path / f"{out}-{place}")

    alone = [work(place, "alone") for place in range(8)]
    before = process_state()
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda place: work(place, "together"), range(8)))
    assert together == alone
    assert process_state() == before
    assert nn.LayerNorm(2).weight.device.type == "cpu"


def test_others_build_modules_meanwhile(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules that another thread makes while a skeleton is being made are its own."""
    folder, seen = tiny("llama"), []

    def made() -> tuple[str, torch.dtype]:
        weight = nn.LayerNorm(2).weight
        return weight.device.type, weight.dtype

    kind = AutoModelForCausalLM._model_mapping[type(load_config(folder))]
    make = kind.__init__

    def slow(self: Any, *given: Any, **more: Any) -> None:
        make(self, *given, **more)
        with ThreadPoolExecutor(1) as pool:
            seen.append(pool.submit(made).result())

    monkeypatch.setattr(kind, "__init__", slow)
    model = build_skeleton(load_config(folder), torch.bfloat16)
    assert seen == [("cpu", torch.float32)]
    assert all(p.is_meta and p.dtype == torch.bfloat16 for p in model.parameters())


def test_others_set_the_default_dtype_meanwhile(tiny: Tiny, tmp_path: Path) -> None:
    """As transformers does in every thread that loads a model."""
    sources = {family: tiny(family) for family in FAMILIES}
    write_corpus(tmp_path / "texts", ["de", "sw"], lines=4)
    texts = mwanda.read_texts(tmp_path / "texts")

    def work(family: str, out: Path) -> tuple[dict[str, bytes], list[Any]]:
        mwanda.prune(sources[family], out=out, calibration=windows_object(), **UNIFORM)
        found = mwanda.evaluate(out, texts)
        return shard_bytes(out), [one.sentence_nll for one in found.languages.values()]

    def toggle() -> None:
        while not done.is_set():
            for dtype in (torch.bfloat16, torch.float32):
                torch.set_default_dtype(dtype)
                time.sleep(1e-4)

    alone = [work(family, tmp_path / f"alone-{family}") for family in FAMILIES]
    before, done = process_state(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        toggling = pool.submit(toggle)
        try:
            beside = [work(family, tmp_path / f"beside-{family}") for family in FAMILIES]
        finally:
            done.set()
        toggling.result()
    assert beside == alone
    assert process_state() == before


def test_evaluations_share_a_model_in_memory(tiny: Tiny, tmp_path: Path) -> None:
    write_corpus(tmp_path / "texts", ["de", "sw"], lines=4)
    texts = mwanda.read_texts(tmp_path / "texts")
    model = AutoModelForCausalLM.from_pretrained(tiny("gemma3"))
    tokenizer = AutoTokenizer.from_pretrained(tiny("gemma3"))

    def work(_place: int) -> dict[str, Any]:
        found = mwanda.evaluate(model, texts, tokenizer=tokenizer)
        return {tag: result.sentence_nll for tag, result in found.languages.items()}

    expected = work(0)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(8))) == [expected] * 8


@pytest.mark.parametrize("family", ["llama", "zamba", "qwen3_next", "nemotron_h", "git"])
def test_a_skeleton_draws_no_random_numbers(family: str) -> None:
    """Classes that draw first weights before they are parameters, too."""
    before = process_state()
    build_skeleton(tiny_config(family), torch.bfloat16)
    assert process_state() == before


def test_every_verb_works_outside_the_main_thread(tiny: Tiny, tmp_path: Path) -> None:
    def work() -> None:
        out, packed = tmp_path / "out", tmp_path / "packed.mwz"
        mwanda.prune(tiny("llama"), out=out, calibration=windows_object(), **UNIFORM)
        mwanda.plan(
            tiny("llama"), recipe=mwanda.Recipe.build(UNIFORM), calibration=windows_object()
        )
        mwanda.verify(out)
        mwanda.diff(out, out)
        mwanda.pack(out, packed)
        mwanda.load_packed(packed)
        mwanda.collect_statistics(
            tiny("llama"), tmp_path / "s.safetensors", calibration=windows_object()
        )

    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()
    assert tensors(tmp_path / "out")
