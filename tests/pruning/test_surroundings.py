"""Every public verb inside what a caller may have switched on: the same result as without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

import mwanda
from mwanda import Recipe
from tests.pruning.pipeline.helpers import Tiny, shard_bytes, token_windows, windows_object
from tests.support.shrink import tiny_config
from tests.support.text import write_corpus

FIELDS = {"criterion": "wanda", "allocation": "cwl"}
WINDOWS = windows_object(), windows_object(token_windows(seed=2))
UPDATED = {"criterion": "wanda", "allocation": "uniform", "reconstruction": "admm"}


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


AROUND: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "gradients": torch.enable_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "on meta": lambda: torch.device("meta"),
    "default device": default_device,
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "deterministic": deterministic,
}


def verbs(folder: Path, source: Path, texts: Path) -> dict[str, Any]:
    """What every verb says and writes."""
    folder.mkdir()
    recipe, (windows, other) = Recipe.build(FIELDS), WINDOWS
    mwanda.prune(source, out=folder / "a", calibration=windows, **FIELDS)
    mwanda.prune(source, out=folder / "b", calibration=windows, **UPDATED)
    mwanda.prune(source, out=folder / "m.safetensors", calibration=windows, masks_only=True,
                 **FIELDS)  # fmt: skip
    mwanda.apply_masks(folder / "m.safetensors", source, folder / "c")
    mwanda.extract_masks(folder / "a", out=folder / "n.safetensors")
    mwanda.collect_statistics(source, folder / "s.safetensors", calibration=windows)
    mwanda.collect_statistics(source, folder / "r.safetensors", calibration=other)
    mwanda.merge_statistics([folder / "r.safetensors", folder / "s.safetensors"],
                            folder / "t.safetensors")  # fmt: skip
    mwanda.prune(source, out=folder / "d", statistics=folder / "s.safetensors",
                 **(FIELDS | {"mode": "dense"}))  # fmt: skip
    mwanda.pack(folder / "a", folder / "p.mwz")
    mwanda.unpack(folder / "p.mwz", folder / "e")
    packed = mwanda.load_packed(folder / "p.mwz")
    planned = mwanda.plan(source, recipe=recipe, calibration=windows)
    evaluation = mwanda.evaluate(folder / "a", texts)
    return {
        "shards": {name: shard_bytes(folder / name) for name in "abcde"},
        "files": {
            path.name: {name: tensor.tolist() for name, tensor in load_file(path).items()}
            for path in folder.glob("?.safetensors")
        },
        "linears": mwanda.verify(folder / "a").manifest.linears,
        "diff": mwanda.diff(folder / "a", folder / "b").as_dict()["linears"],
        "shown": mwanda.show_statistics(folder / "t.safetensors").as_dict() | {"path": ""},
        "planned": (planned.passes, planned.flops, planned.removed, planned.disk),
        "scores": {tag: one.sentence_nll for tag, one in evaluation.languages.items()},
        "packed": {k: v.tolist() for k, v in packed.state_dict().items()},
    }


@pytest.fixture(scope="module")
def expected(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("expected")
    write_corpus(folder / "texts", ["de", "sw"], lines=4)
    return folder / "texts", verbs(folder / "out", tiny("llama"), folder / "texts")


@pytest.mark.parametrize("around", AROUND)
def test_every_verb_gives_the_same(
    tiny: Tiny, tmp_path: Path, expected: tuple[Path, dict[str, Any]], around: str
) -> None:
    texts, wanted = expected
    with AROUND[around]():
        found = verbs(tmp_path / "out", tiny("llama"), texts)
    for name, value in wanted.items():
        assert found[name] == value, name


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("family", ["llama", "bloom", "gemma3", "gpt2"])
def test_a_model_in_memory_can_be_trained_afterwards(
    tiny: Tiny, tmp_path: Path, around: str, family: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny(family))
    write_corpus(tmp_path / "texts", ["de", "sw"], lines=4)
    texts = mwanda.read_texts(tmp_path / "texts")

    def both(model: Any) -> dict[str, float]:
        mwanda.prune(model, calibration=WINDOWS[0], **FIELDS)
        scores = mwanda.evaluate(model, texts, tokenizer=tokenizer).languages
        return {tag: one.sentence_nll for tag, one in scores.items()}

    plain = AutoModelForCausalLM.from_pretrained(tiny(family))
    wanted = both(plain)
    model = AutoModelForCausalLM.from_pretrained(tiny(family))
    with AROUND[around]():
        found = both(model)
    assert found == wanted
    for name, tensor in plain.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    trainable(model)


def trainable(model: Any) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with mwanda.keep_zeros(model):
        model(input_ids=torch.tensor([[3, 4, 5]]), labels=torch.tensor([[3, 4, 5]])).loss.backward()
        optimizer.step()


def test_a_model_made_under_inference_mode_is_pruned_and_trained() -> None:
    """Tied weights stay tied."""
    with torch.inference_mode():
        model = AutoModelForCausalLM.from_config(tiny_config("gemma3_text"))
    assert model.lm_head.weight.is_inference()
    mwanda.prune(model, calibration=windows_object(), **FIELDS)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    trainable(model)


@pytest.mark.parametrize("around", AROUND)
def test_masked_linears(around: str) -> None:
    pytest.importorskip("mwanda.pruned.kernel.build").kernel()
    weight = torch.eye(40)[:, :33].bfloat16()
    x = torch.arange(33 * 6, dtype=torch.float32).view(6, 33).bfloat16()
    with AROUND[around]():
        masked = mwanda.MaskedLinear(weight)
        assert torch.equal(masked.dense(), weight)
        assert torch.equal(masked(x[:2])[:, :33], x[:2])
        assert torch.equal(masked(x)[:, :33], x)


@pytest.mark.parametrize("around", AROUND)
def test_zeros_are_kept(around: str) -> None:
    """The handle is made and used wherever it is."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(_config())
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight[::2] = 0
    with AROUND[around](), mwanda.keep_zeros(model) as kept:
        with torch.no_grad():
            model.model.layers[0].mlp.down_proj.weight.add_(1)
        kept.masks.apply()
    weight = model.model.layers[0].mlp.down_proj.weight
    assert not bool(weight[::2].any())
    assert bool(weight[1::2].any())
    assert isinstance(weight, nn.Parameter)


def _config() -> Any:
    return tiny_config("llama")
