"""Files of statistics that cannot be used, each refused in one line before any work."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from mwanda import InputError, RunOptions
from tests.pruning.pipeline.helpers import WEIGHTS, Tiny, windows_file
from tests.pruning.saved.helpers import collected, content, from_file, spoiled

Q = "model.layers.0.self_attn.q_proj"
DOWN = "model.layers.1.mlp.down_proj"


@pytest.fixture(scope="module")
def source(tiny: Tiny) -> Path:
    return tiny("llama")


@pytest.fixture(scope="module")
def file(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Statistics of the tiny llama, with Gram matrices. Do not write in it."""
    path = tmp_path_factory.mktemp("good") / "good.safetensors"
    collected(source, path, gram=True, language_weights=WEIGHTS)
    return path


def refuse(source: Any, out: Path, file: Path, *says: str, **fields: Any) -> InputError:
    before = sorted(out.parent.iterdir())
    with pytest.raises(InputError) as caught:
        from_file(source, out, file, **fields)
    assert sorted(out.parent.iterdir()) == before
    for part in says:
        assert part in str(caught.value), caught.value
    return caught.value


def test_everything_at_once(source: Path, tmp_path: Path, file: Path) -> None:
    error = refuse(
        source,
        tmp_path / "out",
        file,
        "--calibration: expected none beside --statistics",
        "--mode: expected dense with --statistics",
        "--compute-dtype: expected float32, in which",
        "--allocation: expected one that looks at sums, with --statistics, found measured",
        "--languages: expected languages of the statistics: de, sw, found fr",
        "--language-weights: expected languages of the statistics",
        calibration=windows_file(tmp_path),
        mode="sequential",
        allocation="measured",
        skip_first_tokens=1,
        languages=["de", "fr"],
        language_weights={"fr": 2.0},
        options=RunOptions(compute_dtype="bfloat16"),
    )
    assert "--skip-first-tokens: expected 0, with which" in str(error)
    assert len(error.problems) == 7


def test_sums_that_are_not_there(source: Path, tmp_path: Path, file: Path) -> None:
    def without(tensors: dict[str, Any], record: dict[str, Any]) -> None:
        for name in [name for name in tensors if not name.endswith(("square", "tokens"))]:
            del tensors[name]
        record["needs"], record["parts"] = ["square"], ["square"]
        for entry in record["inputs"].values():
            entry["gram"] = False

    bare = spoiled(file, tmp_path / "bare.safetensors", without)
    refuse(source, tmp_path / "out", bare, "square, activity", "none of activity")
    says = ("none of gram", "--gram")
    refuse(source, tmp_path / "out", bare, *says, criterion="wanda", reconstruction="admm")
    from_file(source, tmp_path / "out", bare, criterion="wanda")


@pytest.mark.parametrize(
    "fields", [{"languages": ["de"]}, {}, {"language_weights": {"de": 3.1, "sw": 1}}]
)
def test_gram_matrices_of_other_languages_or_weights(
    source: Path, tmp_path: Path, file: Path, fields: dict[str, Any]
) -> None:
    says = ("--languages and --language-weights", "de=0.75,sw=0.25", str(file))
    refuse(source, tmp_path / "out", file, *says, reconstruction="admm", **fields)
    from_file(source, tmp_path / "out", file, **fields)


def test_a_model_of_other_shapes(tiny: Tiny, tmp_path: Path, file: Path) -> None:
    refuse(tiny("qwen3"), tmp_path / "out", file, "those of this model", Q)
    refuse(tiny("gpt2"), tmp_path / "out", file, "those of this model", Q)
    refuse(tiny("llama", layers=2), tmp_path / "out", file, "model.layers.2", "those of")


@pytest.mark.parametrize(
    ("name", "where"),
    [(f"{DOWN}.weight", "in its linears"), ("model.norm.weight", "outside its linears")],
)
def test_other_weights(source: Path, tmp_path: Path, file: Path, name: str, where: str) -> None:
    other = tmp_path / "model"
    shutil.copytree(source, other)
    weights = load_file(other / "model.safetensors")
    weights[name].view(-1)[-1] += 2**-10
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    refuse(other, tmp_path / "out", file, "the model they were made of", where)


def test_other_weights_in_memory(source: Path, tmp_path: Path, file: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(source)
    weight = model.get_parameter(f"{DOWN}.weight")
    with torch.no_grad():
        weight[-1, -1] += 2**-10
    before = weight.clone()
    with pytest.raises(InputError, match="in its linears"):
        from_file(model, None, file)
    assert torch.equal(weight, before)


def test_a_linear_that_was_left_out(source: Path, tmp_path: Path) -> None:
    part = tmp_path / "part.safetensors"
    collected(source, part, exclude=["q_proj"])
    refuse(source, tmp_path / "out", part, f"statistics of {Q}", "3 such linears", "--exclude")


def test_experts_have_no_gram_matrix(tiny: Tiny, tmp_path: Path) -> None:
    part = tmp_path / "part.safetensors"
    collected(tiny("mixtral"), part, gram=True)
    refuse(tiny("mixtral"), tmp_path / "out", part, r"\.experts\.", reconstruction="admm")


# --- the file itself ---


def test_no_such_file(source: Path, tmp_path: Path) -> None:
    refuse(source, tmp_path / "out", tmp_path / "none.safetensors", "no such file")
    refuse(source, tmp_path / "out", tmp_path, "no such file")


def test_a_foreign_file(source: Path, tmp_path: Path) -> None:
    refuse(source, tmp_path / "out", windows_file(tmp_path), "a foreign file")
    refuse(source, tmp_path / "out", source / "config.json", "config.json", "safetensors")
    refuse(source, tmp_path / "out", source / "model.safetensors", "a foreign file")


def test_a_file_of_masks(source: Path, tmp_path: Path, file: Path) -> None:
    masks = tmp_path / "masks.safetensors"
    from_file(source, masks, file, masks_only=True)
    refuse(source, tmp_path / "out", masks, "a file of statistics", "one of masks")


@pytest.mark.parametrize("cut", [1, 5000, None])
def test_a_truncated_file(source: Path, tmp_path: Path, file: Path, cut: int | None) -> None:
    short = Path(shutil.copy(file, tmp_path / "short.safetensors"))
    os.truncate(short, 0 if cut is None else short.stat().st_size - cut)
    refuse(source, tmp_path / "out", short, str(short), "truncated")


def of_record(**fields: Any) -> Callable[..., None]:
    return lambda _tensors, record: record.update(fields)


def of_calibration(**fields: Any) -> Callable[..., None]:
    return lambda _tensors, record: record["calibration"].update(fields)


def of_tensor(name: str, change: Callable[[torch.Tensor], Any]) -> Callable[..., None]:
    def spoil(tensors: dict[str, torch.Tensor], _record: dict[str, Any]) -> None:
        tensors[name] = change(tensors[name]).contiguous()

    return spoil


def inside(name: str, change: Callable[[torch.Tensor], Any]) -> Callable[..., None]:
    return lambda tensors, _record: change(tensors[name])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (of_record(format=2), "expected format 1, found 2"),
        (of_record(kind=3), "one of 3"),
        (of_record(needs=7), "needs"),
        (of_record(parts=["square", "cube"]), "found cube"),
        (of_record(parts=["active"]), "no sums of squares"),
        (of_record(strange=1), "strange"),
        (of_record(inputs={}), "inputs"),
        (of_record(settings={}), "no compute_dtype"),
        (lambda t, r: r["settings"].pop("skip_first_tokens"), "no skip_first_tokens"),
        (of_record(windows={}), "languages that differ"),
        (of_calibration(languages={}), "languages that differ"),
        (lambda t, r: r["model"].update(blocks=1), "a block beyond the model's"),
        (lambda t, r: r["inputs"][Q].update(block=-1), "block"),
        (lambda t, r: r["inputs"][Q].update(width=32), "float64 [2, 32]"),
        (lambda t, r: r["inputs"][Q]["linears"].update({DOWN: 48}), "a linear named twice"),
        (lambda t, r: r["inputs"][Q]["linears"].pop(Q), "first linear's"),
        (lambda t, r: r["inputs"][Q]["linears"].update({Q: 7}), "those of this model"),
        (lambda t, r: t.pop(f"{Q}|square"), f"{Q}|square"),
        (lambda t, r: t.update(more=torch.zeros(1)), "tensor more"),
        (of_tensor(f"{Q}|square", lambda t: t.float()), "expected torch.float64 [2, 48]"),
        (of_tensor(f"{Q}|square", lambda t: t[:1]), "found torch.float64 [1, 48]"),
        (inside(f"{Q}|square", lambda t: t[1].fill_(float("nan"))), "NaN or infinity"),
        (inside(f"{Q}|square", lambda t: t[0, :1].fill_(float("inf"))), "infinity"),
        (inside(f"{DOWN}|square", lambda t: t[1, -1:].fill_(-1)), "found -1"),
        (inside(f"{DOWN}|active", lambda t: t[1, -1:].fill_(1e9)), "beyond the number"),
        (inside(f"{Q}|tokens", lambda t: t[:1].fill_(-5)), "counts of tokens"),
        (inside(f"{Q}|tokens", lambda t: t[:1].fill_(0)), "counts of tokens"),
        (inside(f"{DOWN}|gram", lambda t: t[7, :1].fill_(float("nan"))), "Gram matrix"),
        (inside(f"{DOWN}|gram", lambda t: t[7, 7:8].fill_(-1)), "Gram matrix"),
    ],
)
def test_a_spoiled_file(
    source: Path, tmp_path: Path, file: Path, change: Callable[..., Any], says: str
) -> None:
    bad = spoiled(file, tmp_path / "bad.safetensors", change)
    fields = {"reconstruction": "admm", "language_weights": WEIGHTS}
    refuse(source, tmp_path / "out", bad, str(bad), says, **fields)


def test_a_record_that_is_no_json(source: Path, tmp_path: Path, file: Path) -> None:
    bad = tmp_path / "bad.safetensors"
    for text in ("", "[1]", "{", '"statistics"', "[" * 9999):
        save_file(content(file)[0], bad, {"mwanda": text})
        refuse(source, tmp_path / "out", bad, "a foreign file")
