"""Masked linears against float64, on every path that this machine has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import AutoModelForCausalLM

import mwanda
from mwanda import InputError, MaskedLinear, MwandaError
from mwanda.pruned.kernel import build
from mwanda.pruned.kernel.build import PATHS, available_paths, kernel
from tests.pruning.pipeline.helpers import Tiny

try:
    PRODUCTS = available_paths()
except InputError:
    pytest.skip("no C++ compiler", allow_module_level=True)


def sparse(rows: int, columns: int, share: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator)
    gone = torch.rand(rows, columns, generator=generator) < share
    return weight.masked_fill_(gone, 0).bfloat16()


@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 200),
    share=st.sampled_from([0.0, 0.3, 0.5, 0.97, 1.0]),
    tokens=st.integers(0, 6),
    biased=st.booleans(),
    path=st.sampled_from(PRODUCTS),
    seed=st.integers(0, 99),
)
@settings(max_examples=150)
def test_products(
    rows: int, columns: int, share: float, tokens: int, biased: bool, path: str, seed: int
) -> None:
    """Within bf16's rounding of the exact product, whatever lies past a row's or matrix's end."""
    weight = sparse(rows, columns, share, seed)
    bias = torch.linspace(-2, 2, rows).bfloat16() if biased else None
    masked = MaskedLinear(weight, bias, path)
    assert torch.equal(masked.dense(), weight)
    x = torch.randn(tokens, columns, generator=torch.Generator().manual_seed(seed)).bfloat16()
    exact = x.double() @ weight.double().t() + (0 if bias is None else bias.double())
    found = masked(x)
    assert found.dtype == torch.bfloat16
    assert found.shape == (tokens, rows)
    size = x.double().abs() @ weight.double().abs().t() + 2
    assert bool(((found.double() - exact).abs() <= exact.abs() / 200 + size * 1e-5).all())


@pytest.mark.parametrize("path", PRODUCTS)
def test_exact_where_sums_are(path: str) -> None:
    """Whole numbers below 2^24 add up exactly in float32, in any order."""
    weight = torch.randint(-3, 4, (37, 333), generator=torch.Generator().manual_seed(1)).bfloat16()
    x = torch.randint(-3, 4, (3, 333), generator=torch.Generator().manual_seed(2)).bfloat16()
    exact = (x.float() @ weight.float().t()).bfloat16()
    assert torch.equal(MaskedLinear(weight, None, path)(x), exact)


@pytest.mark.parametrize("path", PRODUCTS)
def test_rounding_is_to_nearest_even(path: str) -> None:
    """As torch rounds: halfway cases, both signs, infinities and NaN."""
    values = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 3e38, float("inf")])
    parts = values.bfloat16().float()
    rest = (values - parts).nan_to_num(0).bfloat16()
    weight = torch.stack([parts.bfloat16(), rest], 1)
    x = torch.ones(1, 2).bfloat16()
    assert torch.equal(MaskedLinear(weight, None, path)(x)[0], values.bfloat16())
    weight[0, 0] = float("nan")
    assert bool(MaskedLinear(weight, None, path)(x)[0, 0].isnan())


def test_shapes_threads_and_bytes() -> None:
    weight = sparse(24, 64, 0.5)
    masked = MaskedLinear(weight)
    x = torch.randn(2, 1, 64).bfloat16()
    assert masked(x).shape == (2, 1, 24)
    assert torch.equal(masked(x.transpose(0, 1)).transpose(0, 1), masked(x))
    assert masked(torch.randn(2, 5, 64).bfloat16()).shape == (2, 5, 24)
    kept = int(torch.count_nonzero(weight))
    assert masked.nbytes == 2 * (kept + 32) + 24 * 8 + 25 * 8
    assert "in_features=64, out_features=24" in repr(masked)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert torch.equal(masked(x), MaskedLinear(weight)(x))
    finally:
        torch.set_num_threads(threads)


def test_refusals() -> None:
    weight = sparse(4, 8, 0.5)
    with pytest.raises(InputError, match=r"weight: expected bfloat16 .* found torch\.float32"):
        MaskedLinear(weight.float())
    with pytest.raises(InputError, match="path: expected one of portable"):
        MaskedLinear(weight, path="fpga")
    masked = MaskedLinear(weight)
    with pytest.raises(InputError, match=r"x: expected bfloat16"):
        masked(torch.ones(1, 8))
    with pytest.raises(InputError, match="x: expected 8 features, found 7"):
        masked(torch.ones(1, 7).bfloat16())
    wanting = torch.ones(1, 8).bfloat16().requires_grad_()
    with pytest.raises(InputError, match="an input that wants one"):
        masked(wanting)
    with torch.no_grad():
        assert masked(wanting).shape == (1, 4)


@pytest.mark.parametrize("family", ["llama", "gemma3", "qwen3"])
def test_a_model_decodes_alike(tiny: Tiny, tmp_path: Path, family: str) -> None:
    mwanda.prune(tiny(family), out=tmp_path / "out", criterion="magnitude", allocation="uniform",
                 dtype="bfloat16")  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.bfloat16).eval()
    ids = torch.tensor([[1, 5, 9, 70, 33, 8, 120]])
    with torch.inference_mode():
        dense = model(ids).logits
        cached = model(ids[:, :-1], use_cache=True).past_key_values
        names = mwanda.mask_linears(model)
        assert len(names) == 21
        assert all(isinstance(model.get_submodule(name), MaskedLinear) for name in names)
        assert not any(isinstance(m, nn.Linear) for m in model.base_model.modules())
        prompt = model(ids).logits
        last = model(ids[:, -1:], past_key_values=cached, use_cache=True).logits
    assert torch.equal(prompt, dense)  # the same dense products
    torch.testing.assert_close(last[0, -1], dense[0, -1], rtol=0.05, atol=0.05)
    made = model.generate(ids, max_new_tokens=5, do_sample=False)
    assert made.shape == (1, 12)


def test_models_that_have_none(tiny: Tiny) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny("llama"), dtype=torch.bfloat16)
    with pytest.raises(InputError, match=r"pruned nn\.Linear layers in bfloat16"):
        mwanda.mask_linears(model)
    wide = AutoModelForCausalLM.from_pretrained(tiny("llama"), dtype=torch.float32)
    with pytest.raises(InputError, match="load a pruned model"):
        mwanda.mask_linears(wide)


def test_building(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kernel.cache_clear()
    try:
        monkeypatch.setenv("CXX", "")
        monkeypatch.setattr(build.shutil, "which", lambda _name: None)
        with pytest.raises(InputError, match=r"a C\+\+ compiler: .*, found none"):
            kernel()
        monkeypatch.undo()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setattr(build, "FLAGS", ("--no-such-flag",))
        with pytest.raises(MwandaError, match=r"masked\.cpp: expected it to compile"):
            kernel()
        assert not any((tmp_path / "mwanda").iterdir())
        os.chmod(tmp_path / "mwanda", 0o777)
        with pytest.raises(InputError, match="only you can write to"):
            kernel()
        os.chmod(tmp_path / "mwanda", 0o700)
        monkeypatch.undo()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert kernel().mwanda_best_path() == len(PATHS[: len(PRODUCTS)]) - 1
        assert [path.suffix for path in (tmp_path / "mwanda").iterdir()] == [".so"]
    finally:
        kernel.cache_clear()


TINY = 2.0**-126
ODD = {
    "minus zero": ([-0.0, 2.0, 0.0], [3.0, -0.0, -1.0]),
    "a subnormal weight": ([TINY / 4, 1.0, 0.0], [3e38, 1.0, 1.0]),
    "a subnormal input": ([3e38, 1.0, 0.0], [TINY / 4, 1.0, 1.0]),
    "a subnormal product": ([1e-20, 0.0, 0.0], [1e-20, 1.0, 1.0]),
    "a subnormal bias": ([TINY / 4, 0.0, 0.0], [1.0, 1.0, 1.0]),
    "infinite weight": ([float("inf"), 1.0, 0.0], [1.0, 1.0, 1.0]),
    "infinite weight, input zero": ([float("inf"), 1.0, 0.0], [0.0, 1.0, 1.0]),
    "infinite weight, input subnormal": ([float("inf"), 1.0, 0.0], [TINY / 4, 1.0, 1.0]),
    "infinite input": ([2.0, 1.0, 0.0], [float("-inf"), 1.0, 1.0]),
    "infinite input, weight zero": ([2.0, 1.0, 0.0], [1.0, 1.0, float("inf")]),
    "NaN weight": ([float("nan"), 1.0, 0.0], [1.0, 1.0, 1.0]),
    "NaN input": ([2.0, 1.0, 0.0], [1.0, float("nan"), 1.0]),
    "NaN input, weight zero": ([2.0, 1.0, 0.0], [1.0, 1.0, float("nan")]),
    "overflow": ([3e38, 3e38, 0.0], [2.0, 1.0, 1.0]),
}


def flushed(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.masked_fill(tensor.abs() < TINY, 0)


@pytest.mark.parametrize("case", ODD)
@pytest.mark.parametrize("tokens", [1, 4])
def test_paths_agree_on_odd_numbers(case: str, tokens: int) -> None:
    """What float64 gives where numbers below 2^-126 are zeros; the same bits on every path."""
    row, column = (torch.tensor(values).bfloat16() for values in ODD[case])
    weight, x = torch.zeros(5, 70).bfloat16(), torch.ones(tokens, 70).bfloat16()
    weight[1, 30:33], x[:, 30:33] = row, column
    bias = torch.full((5,), TINY / 4).bfloat16() if case == "a subnormal bias" else None
    found = [MaskedLinear(weight, bias, path)(x) for path in PRODUCTS]
    products = flushed(flushed(x.double())[:, None] * flushed(weight.double()))
    expected = flushed(products.sum(-1)).bfloat16()
    for one in found:
        assert torch.equal(one.view(torch.int16), found[0].view(torch.int16))
        if x.isfinite().all():
            torch.testing.assert_close(one, expected, rtol=0, atol=0, equal_nan=True)
        else:
            dense = nn.functional.linear(x, weight, bias)
            torch.testing.assert_close(one, dense, rtol=0, atol=0, equal_nan=True)


def test_a_product_leaves_subnormals_to_others() -> None:
    small = torch.tensor([TINY / 4])
    MaskedLinear(sparse(40, 64, 0.5))(torch.ones(1, 64).bfloat16())
    assert float(small * 0.5) == TINY / 8
