"""Statistics of experts against a plain loop over routed tokens, and the rule for too few."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2MoeConfig

from mwanda.errors import InputError
from mwanda.methods.input_statistics import FeatureSums
from mwanda.model.run.discovery import find_structure
from mwanda.model.run.experts import routing, runnable_experts
from mwanda.pruning.statistics.capture import Capture
from mwanda.pruning.statistics.routed import inputs_of, routed_tokens
from tests.pruning.pipeline.helpers import Tiny, token_windows
from tests.support.experts import EXPERT_FAMILIES, experts_of, routed_inputs

NEEDS: Any = ("square", "activity")


def sums_of(square: float, tokens: int) -> FeatureSums:
    return FeatureSums(tokens, torch.full((3,), square * tokens, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("family", EXPERT_FAMILIES)
@torch.no_grad()
def test_sums_are_those_of_a_loop_over_routed_tokens(
    tiny: Tiny, family: str, dtype: torch.dtype
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny(family), dtype=dtype).eval()
    windows, structure = token_windows(), find_structure(model)
    near = 1e-10 if dtype == torch.float64 else 1e-4
    with runnable_experts(model, dtype):
        for path in experts_of(model):
            linears = [x for x in structure.linears() if x.name.startswith(f"{path}.")]
            with Capture(model, linears, NEEDS) as capture:
                for tag, ids in windows.items():
                    capture.run(lambda ids=ids: model(ids, use_cache=False), tag)
            capture.check(0)
            expected = routed_inputs(model, path, windows)
            assert {x.name for x in linears} >= expected.keys()
            for name, sums in capture.sums.items():
                assert sums.keys() == expected.get(name, {}).keys()
                for tag, x in expected.get(name, {}).items():
                    entry = FeatureSums.of(x, NEEDS)
                    assert sums[tag].tokens == len(x)
                    torch.testing.assert_close(
                        sums[tag].square, entry.square, rtol=near, atol=near / 10
                    )
                    if dtype == torch.float64:
                        assert entry.active is not None
                        assert torch.equal(sums[tag].active, entry.active)
            counts = routed_tokens(capture.sums)[path]
            chosen = model.config.num_experts_per_tok
            for tag, ids in windows.items():
                assert sum(n or 0 for n in counts[tag]) == ids.numel() * chosen
    assert model.config._experts_implementation != "eager"  # put back
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_language_without_a_token_is_left_out() -> None:
    weights = {"de": 3.0, "sw": 1.0, "hi": 0.0}
    name = "model.layers.0.mlp.experts.2.down_proj"
    found = inputs_of(name, {"de": sums_of(2.0, 5), "sw": sums_of(7.0, 0)}, weights, 4)
    assert found is not None
    assert found.weights.tolist() == [1.0]
    assert found.pooled_rms.tolist() == pytest.approx([2.0**0.5] * 3)


@pytest.mark.parametrize(
    ("tokens", "minimum", "enough"),
    [
        ({"de": 3}, 4, False),
        ({"de": 3, "sw": 1}, 4, True),
        ({"hi": 100}, 1, False),  # its weight is 0
        ({"hi": 100, "de": 1}, 1, True),
        ({}, 0, False),
    ],
)
def test_too_few_tokens_give_no_statistics(
    tokens: dict[str, int], minimum: int, enough: bool
) -> None:
    weights = {"de": 3.0, "sw": 1.0, "hi": 0.0}
    sums = {tag: sums_of(1.0, count) for tag, count in tokens.items()}
    found = inputs_of("a.experts.0.up_proj", sums, weights, minimum)
    assert (found is not None) is enough
    if found is not None:
        assert torch.isfinite(found.pooled_rms).all()


def test_other_linears_know_no_minimum() -> None:
    assert inputs_of("a.mlp.up_proj", {"de": sums_of(1.0, 2)}, {"de": 1.0}, 50) is not None


def test_counts_by_expert_and_language() -> None:
    sums = {
        "b.experts.0.up_proj": {"de": sums_of(1.0, 4)},
        "b.experts.0.down_proj": {"de": sums_of(1.0, 4)},
        "b.experts.2.up_proj": {"sw": sums_of(1.0, 9)},
        "b.q_proj": {"de": sums_of(1.0, 13), "sw": sums_of(1.0, 9)},
    }
    assert routed_tokens(sums) == {"b.experts": {"de": [4, None, 0], "sw": [0, None, 9]}}


def test_an_expert_may_go_without_input_and_a_linear_may_not(tiny: Tiny) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny("olmoe")).eval()
    linears = list(find_structure(model).blocks[0].linears)
    with Capture(model, linears, NEEDS) as capture, torch.no_grad():
        capture.run(lambda: model(torch.tensor([[5, 6]]), use_cache=False), "de")
    capture.check(0)
    unseen = [name for name, languages in capture.sums.items() if not languages]
    assert len(unseen) >= 3 * 6  # two tokens, three experts each, of twelve
    assert all(".experts." in name for name in unseen)


@pytest.mark.parametrize("family", EXPERT_FAMILIES)
def test_the_router_is_left_alone_and_nothing_else(tiny: Tiny, family: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny(family))
    names = {linear.name for linear in find_structure(model).linears()}
    assert not any(name.endswith((".gate", ".router")) for name in names)
    modules = {n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    inside = {name for name in modules if ".layers." in name and not name.endswith(".gate")}
    assert inside <= names


def test_a_shared_expert_as_wide_as_there_are_experts_is_no_router() -> None:
    """As in Qwen3-Next: 512 experts, and a shared one of width 512."""
    config = Qwen2MoeConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, moe_intermediate_size=8,
        shared_expert_intermediate_size=6, num_experts=6, num_experts_per_tok=2,
        num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
    )  # fmt: skip
    names = {x.name for x in find_structure(AutoModelForCausalLM.from_config(config)).linears()}
    mlp = "model.layers.1.mlp"
    for leaf in ("gate_proj", "up_proj", "down_proj"):
        assert f"{mlp}.shared_expert.{leaf}" in names
        assert f"{mlp}.experts.5.{leaf}" in names
    assert f"{mlp}.gate" not in names
    assert f"{mlp}.shared_expert_gate" not in names


def test_experts_called_in_another_order_are_refused(tiny: Tiny) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny("mixtral"))
    experts = experts_of(model)["model.layers.0.mlp.experts"]
    hidden, weights = torch.zeros(4, 48), torch.ones(4, 2)
    with pytest.raises(InputError, match=r"class MixtralExperts: .*found torch\.float32"):
        routing(experts, (hidden, weights, weights.long()), {})


@pytest.mark.parametrize("family", EXPERT_FAMILIES)
@torch.no_grad()
def test_the_first_tokens_of_a_window_are_not_routed_either(tiny: Tiny, family: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny(family), dtype=torch.float64).eval()
    windows, structure = token_windows(), find_structure(model)
    with runnable_experts(model, torch.float64):
        path = next(iter(experts_of(model)))
        linears = [x for x in structure.linears() if x.name.startswith(f"{path}.")]
        with Capture(model, linears, NEEDS, skip=2) as capture:
            for tag, ids in windows.items():
                shape = (ids.shape[0], ids.shape[1])
                capture.run(lambda ids=ids: model(ids, use_cache=False), tag, shape)
        expected = routed_inputs(model, path, windows, skip=2)
    for name, sums in capture.sums.items():
        assert sums.keys() == expected.get(name, {}).keys()
        for tag, x in expected.get(name, {}).items():
            assert sums[tag].tokens == len(x)
            torch.testing.assert_close(
                sums[tag].square, FeatureSums.of(x, NEEDS).square, rtol=1e-10, atol=1e-11
            )
    chosen = model.config.num_experts_per_tok
    for tag, counts in routed_tokens(capture.sums)[path].items():
        assert sum(n or 0 for n in counts) == windows[tag][:, 2:].numel() * chosen
