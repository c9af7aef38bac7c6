"""The head in tiles against the logits of the model's own forward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GraniteConfig,
    MiniCPM3Config,
    PhiConfig,
    PreTrainedConfig,
)

from mwanda.evaluation import head
from mwanda.model.run.decoder import MemoryDecoder
from mwanda.model.run.head_form import find_form
from tests.support.models import (
    FAMILIES,
    HEAD_DIM,
    HEADS,
    HIDDEN,
    INTERMEDIATE,
    VOCABULARY,
    redraw,
    tiny_config,
)

SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS,
    "pad_token_id": 0,
}
CONFIGS: dict[str, PreTrainedConfig] = {
    **{family: tiny_config(family) for family in FAMILIES},
    "soft cap": Gemma2Config(**SIZES, head_dim=HEAD_DIM, final_logit_softcapping=2.0),
    "scale": GraniteConfig(**SIZES, logits_scaling=3.7),
    "bias": PhiConfig(**SIZES),
}


def make(name: str, dtype: torch.dtype) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(CONFIGS[name])
        redraw(model, 0)
    return model.to(dtype).eval()


@torch.no_grad()
def through(model: Any, ids: torch.Tensor) -> tuple[MemoryDecoder, Any, torch.Tensor]:
    """A decoder, its backbone's output and the last hidden states ``[positions, width]``."""
    decoder = MemoryDecoder(model)
    output = decoder.backbone(ids)
    return decoder, output, output[0].flatten(0, 1)


def expected(model: Any, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    logits = model(ids).logits.flatten(0, 1).double()
    return nn.functional.cross_entropy(logits, targets, reduction="none")


def draw(rows: int = 3, tokens: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, VOCABULARY, (rows, tokens), generator=generator)
    return ids, torch.randint(0, VOCABULARY, (rows * tokens,), generator=generator)


@torch.no_grad()
@pytest.mark.parametrize("tile", [(1024, 1024), (1, 1), (4, 7), (5, 299), (100, 150)])
@pytest.mark.parametrize("name", CONFIGS)
def test_tiles_give_the_losses_of_the_models_own_logits(
    name: str, tile: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "TILE", tile)
    model = make(name, torch.float32)
    ids, targets = draw()
    decoder, output, normed = through(model, ids)
    monkeypatch.setattr(head, "_own_losses", None)  # calling it would fail
    found = head.head_losses(decoder, output, normed, targets)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected(model, ids, targets), rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", CONFIGS)
def test_double_precision_is_kept(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "TILE", (4, 7))
    model = make(name, torch.float64)
    ids, targets = draw()
    found = head.head_losses(*through(model, ids), targets)
    # Some families cap or scale in float32 whatever the model is in.
    torch.testing.assert_close(found, expected(model, ids, targets), rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_bfloat16_rounds_as_the_models_own_head_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "TILE", (4, 7))
    model = make("soft cap", torch.bfloat16)
    ids, targets = draw()
    found = head.head_losses(*through(model, ids), targets)
    torch.testing.assert_close(found, expected(model, ids, targets), rtol=1e-3, atol=1e-3)


def changed(kind: str, size: float, dtype: torch.dtype, cap: float = 30.0) -> Any:
    """A model with a cap or a scale, whose largest logits are of about a size without it."""
    config = (
        Gemma2Config(**SIZES, head_dim=HEAD_DIM, final_logit_softcapping=cap)
        if kind == "cap"
        else GraniteConfig(**SIZES, logits_scaling=1.01)
        if kind == "scale near 1"
        else MiniCPM3Config(**SIZES, scale_emb=1, dim_model_base=HIDDEN // 3)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = AutoModelForCausalLM.from_config(config)
        redraw(model, 0)
    with torch.no_grad():
        weight = nn.Parameter(model.lm_head.weight.clone())
        model.lm_head.weight = weight
        weight *= size / model(draw()[0]).logits.abs().max()
    return model.to(dtype).eval()


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("size", [0.3, 7.5, 20.0])
@pytest.mark.parametrize("kind", ["cap", "scale near 1", "before"])
def test_the_form_is_found_however_small_the_logits_are(
    kind: str, size: float, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = changed(kind, size, dtype)
    ids, targets = draw()
    decoder, output, normed = through(model, ids)
    form = find_form(decoder, output, normed[:4])
    assert form is not None
    assert form.cap == (30.0 if kind == "cap" else None)
    assert form.scale == (1 / 1.01 if kind == "scale near 1" else 1.0)
    assert form.before == (pytest.approx(1 / 3, rel=1e-3) if kind == "before" else 1.0)
    monkeypatch.setattr(head, "_own_losses", None)
    found = head.head_losses(decoder, output, normed, targets)
    logits = decoder.logits(output, normed).double()
    wanted = nn.functional.cross_entropy(logits, targets, reduction="none")
    # In bf16 a form left out is off by thousandths, and all its positions to one side.
    assert float((found - wanted).mean().abs()) < (1e-4 if kind == "before" else 2e-6)
    torch.testing.assert_close(found, wanted, rtol=0, atol=5e-2 if kind == "before" else 1e-5)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("change", ["a part of it", "far out", "widened first"])
def test_only_the_models_own_form_is_taken(
    change: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of some entries, or of logits that these positions do not have, is seen too."""
    model = make("llama", dtype)
    forward = model.forward

    def odd(*args: Any, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        if change == "a part of it":
            out.logits[..., 7] *= 1.01
        elif change == "far out":
            out.logits = out.logits.clamp(max=100)
        else:
            out.logits = 30 * torch.tanh(out.logits.float() / 30)
        return out

    monkeypatch.setattr(model, "forward", odd)
    ids, targets = draw()
    decoder, output, normed = through(model, ids)
    form = find_form(decoder, output, normed[:4])
    if change == "widened first":
        assert form is not None
        assert form.cap == 30.0
        assert form.widened is (dtype == torch.bfloat16)
    else:
        assert form is None
    found = head.head_losses(decoder, output, normed, targets)
    logits = decoder.logits(output, normed).double()
    wanted = nn.functional.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("change", ["clamped", "permuted", "no linear"])
def test_a_head_that_is_more_than_a_product_runs_itself(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make("llama", torch.float32)

    class Odd(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits = super().forward(x)
            return logits.clamp(max=0.5) if change == "clamped" else logits.roll(1, dims=-1)

    class Other(nn.Module):
        def __init__(self, inner: nn.Linear) -> None:
            super().__init__()
            self.weight = inner.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.weight.T + 1 / (1 + x.square().sum(dim=-1, keepdim=True))

    if change == "no linear":
        model.lm_head = Other(model.lm_head)
    else:
        model.lm_head.__class__ = Odd
    ids, targets = draw()
    decoder, output, normed = through(model, ids)
    for step in (4 * VOCABULARY * 2, 128 << 20):  # two positions at once; all of them
        monkeypatch.setattr(head, "LOGIT_BYTES", step)
        found = head.head_losses(decoder, output, normed, targets)
        torch.testing.assert_close(found, expected(model, ids, targets), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_loss_past_the_range_of_float32s_exponential_is_still_right() -> None:
    model = make("llama", torch.float32)
    model.lm_head.weight.mul_(40)
    ids, targets = draw()
    wanted = expected(model, ids, targets)
    assert wanted.max() > 100
    assert wanted.min() < 88
    found = head.head_losses(*through(model, ids), targets)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-3)


@torch.no_grad()
def test_a_broken_weight_is_not_hidden() -> None:
    model = make("llama", torch.float32)
    model.lm_head.weight[7, 3] = torch.nan
    ids, targets = draw()
    assert head.head_losses(*through(model, ids), targets).isnan().all()


@torch.no_grad()
def test_no_positions_have_no_losses() -> None:
    decoder, output, normed = through(make("llama", torch.float32), draw()[0])
    assert head.head_losses(decoder, output, normed[:0], draw()[1][:0]).shape == (0,)
