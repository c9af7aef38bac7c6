"""Blocks and linears are found by what the modules are, not by what they are called."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, Qwen2MoeConfig
from transformers.pytorch_utils import Conv1D

from mwanda.errors import InputError
from mwanda.model.run.discovery import find_structure
from mwanda.model.run.structure import (
    Linear,
    Structure,
    as_matrix,
    choose_linears,
    matrix_in,
)
from tests.support.models import FAMILIES, tiny_config


class Unit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixer = nn.ModuleDict({"in": nn.Linear(6, 8, bias=False), "out": nn.Linear(8, 6)})
        self.norm = nn.LayerNorm(6)


class Odd(nn.Module):
    """A class nobody knows, with its blocks at an unusual place."""

    def __init__(self, blocks: int = 3, expected: int | None = 3) -> None:
        super().__init__()
        self.core = nn.Module()
        self.core.stack = nn.ModuleList(Unit() for _ in range(blocks))
        self.core.norms = nn.ModuleList(nn.LayerNorm(6) for _ in range(blocks))
        self.embed = nn.Embedding(5, 6)
        if expected is not None:
            text = SimpleNamespace(num_hidden_layers=expected)
            self.config = SimpleNamespace(get_text_config=lambda decoder: text)


def family(name: str) -> Structure:
    with torch.device("meta"):
        return find_structure(AutoModelForCausalLM.from_config(tiny_config(name)))


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_its_blocks_and_linears(name: str) -> None:
    found = family(name)
    assert [block.index for block in found.blocks] == [0, 1, 2]
    assert len({block.size for block in found.blocks}) == 1
    assert all(linear.name.startswith(f"{found.backbone}.") for linear in found.linears())
    shapes = {
        linear.name.rpartition(".")[2]: (linear.rows, linear.columns) for linear in found.linears()
    }
    if name == "llama":
        assert shapes["gate_proj"] == (80, 48)
        assert shapes["down_proj"] == (48, 80)
        assert shapes["k_proj"] == (24, 48)
    if name == "gpt2":
        assert shapes["c_attn"] == (144, 48)
        assert all(linear.transposed for linear in found.linears())


@pytest.mark.parametrize("expected", [3, None])
def test_an_unknown_class_with_recognisable_blocks_works(expected: int | None) -> None:
    found = find_structure(Odd(expected=expected))
    assert found.backbone == "core"
    assert [b.name for b in found.blocks] == [f"core.stack.{n}" for n in range(3)]
    assert found.blocks[1].linears == (
        Linear("core.stack.1.mixer.in", 8, 6, False),
        Linear("core.stack.1.mixer.out", 6, 8, False),
    )
    assert found.blocks[1].size == 96
    assert found.blocks[1].linears[0].parameter == "core.stack.1.mixer.in.weight"


def test_a_list_of_another_length_is_not_the_blocks() -> None:
    model = Odd(blocks=2, expected=3)
    with pytest.raises(
        InputError, match=r"model class Odd: .*3 layers.*core\.stack \(2\).*ModuleList"
    ):
        find_structure(model)
    model.extra = nn.ModuleList(Unit() for _ in range(3))
    assert find_structure(model).blocks[0].name == "extra.0"


def test_no_list_at_all_is_refused_with_what_was_looked_for() -> None:
    with pytest.raises(
        InputError, match=r"class Sequential: .*0 such lists.*: none;.*ModuleList.*Conv1D"
    ):
        find_structure(nn.Sequential(nn.Linear(2, 2)))


def test_two_equal_lists_are_refused_unless_the_embedding_decides() -> None:
    model = Odd()
    model.tower = nn.Module()
    model.tower.layers = nn.ModuleList(Unit() for _ in range(3))
    with pytest.raises(InputError, match=r"2 such lists.*core\.stack \(3\), tower\.layers \(3\)"):
        find_structure(model)
    model.tower.words = nn.Embedding(5, 6)
    model.get_input_embeddings = lambda: model.tower.words
    assert find_structure(model).backbone == "tower"


def test_a_list_inside_a_block_is_part_of_it() -> None:
    model = Odd()
    for block in model.core.stack:
        block.experts = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
    found = find_structure(model)
    assert [linear.name for linear in found.blocks[0].linears][-1] == "core.stack.0.experts.2"
    assert len(found.blocks[0].linears) == 5


@pytest.mark.parametrize("whole", [True, False])
def test_blocks_that_share_weights_are_refused(whole: bool) -> None:
    model = Odd()
    if whole:
        model.core.stack[2] = model.core.stack[0]
    else:
        model.core.stack[2].mixer["out"].weight = model.core.stack[0].mixer["out"].weight
    with pytest.raises(InputError, match=r"core\.stack\.2\.\S+weight: .*own.*block 0.*one by one"):
        find_structure(model)


def test_a_stack_of_experts_is_refused() -> None:
    model = Odd()
    model.core.stack[1].experts = nn.Parameter(torch.ones(4, 6, 6))
    with pytest.raises(InputError, match=r"core\.stack\.1\.experts: .*matrices.*\[4, 6, 6\].*Unit"):
        find_structure(model)


def test_experts_in_one_plain_matrix_are_refused() -> None:
    model = Odd()
    model.core.stack[1].experts = nn.Module()
    model.core.stack[1].experts.w1 = nn.Parameter(torch.ones(12, 6))
    with pytest.raises(InputError, match=r"stack\.1\.experts\.w1: .*a stack \[12, 6\]"):
        find_structure(model)


def test_a_mixture_of_experts_has_its_matrices_and_leaves_its_router() -> None:
    config = Qwen2MoeConfig(
        vocab_size=40, hidden_size=16, intermediate_size=24, moe_intermediate_size=8, num_experts=4,
        num_experts_per_tok=2, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        shared_expert_intermediate_size=24,
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    names = [linear.name for linear in find_structure(model).blocks[1].linears]
    inside = "model.layers.1.mlp"
    assert [name for name in names if ".experts." in name] == [
        f"{inside}.experts.{number}.{leaf}"
        for number in range(4)
        for leaf in ("gate_proj", "up_proj", "down_proj")
    ]
    shared = [f"{inside}.shared_expert.{leaf}" for leaf in ("gate_proj", "up_proj", "down_proj")]
    assert [name for name in names if "shared" in name] == shared  # not shared_expert_gate
    assert not [name for name in names if name.endswith(".gate")]
    down = next(x for x in find_structure(model).linears() if x.name.endswith("3.down_proj"))
    assert (down.rows, down.columns, down.expert) == (16, 8, ("model.layers.0.mlp.experts", 3))
    parameter = model.get_parameter(down.parameter)
    assert matrix_in(parameter, down).shape == (16, 8)


def test_a_short_convolution_is_no_stack_of_experts() -> None:
    model = Odd()
    model.core.stack[0].conv = nn.Conv1d(6, 6, 4)
    assert len(find_structure(model).blocks) == 3


def test_the_matrix_is_a_view_of_out_by_in() -> None:
    layer = Conv1D(8, 6)
    linear = Linear("x", 8, 6, True)
    view = as_matrix(layer.weight, linear)
    assert view.shape == (8, 6)
    assert view.data_ptr() == layer.weight.data_ptr()
    assert as_matrix(view, linear).shape == layer.weight.shape


def names(structure: Structure) -> list[str]:
    return [linear.name.removeprefix("core.stack.") for linear in structure.linears()]


def test_linears_are_chosen_by_expression_and_block() -> None:
    found = find_structure(Odd())
    assert len(names(choose_linears(found))) == 6
    assert names(choose_linears(found, include=[r"\.in$"])) == [
        "0.mixer.in",
        "1.mixer.in",
        "2.mixer.in",
    ]
    assert names(choose_linears(found, include=["0.*in", "2.*out"])) == [
        "0.mixer.in",
        "2.mixer.out",
    ]
    assert names(choose_linears(found, exclude=["out", r"\.0\."])) == ["1.mixer.in", "2.mixer.in"]
    assert names(choose_linears(found, include=["in"], exclude=[r"\.1\."])) == [
        "0.mixer.in",
        "2.mixer.in",
    ]
    some = choose_linears(found, skip_blocks=[0, 2])
    assert names(some) == ["1.mixer.in", "1.mixer.out"]
    assert [block.index for block in some.blocks] == [0, 1, 2]
    assert some.backbone == "core"


def test_what_leaves_nothing_or_names_no_block_is_refused() -> None:
    found = find_structure(Odd())
    with pytest.raises(InputError, match=r"--skip-blocks: expected .*0 to 2, found 3, -1"):
        choose_linears(found, skip_blocks=[3, 1, -1])
    for options in (
        {"include": ["mixer.in"], "exclude": ["in$"]},
        {"exclude": ["core"]},
        {"skip_blocks": [0, 1, 2]},
    ):
        with pytest.raises(InputError, match=r"--include.*core\.stack\.0\.mixer\.in"):
            choose_linears(found, **options)


@pytest.mark.parametrize(
    ("expression", "near"),
    [
        ("zzz", "core.stack.0.mixer."),
        ("core.stack[1].mixer.out", "nearest: core.stack.1.mixer.out"),
        ("core.stack.2.mixer.ou.weight", "nearest: core.stack.2.mixer.out"),
        ("core.stack.3.mixer.out", "nearest: core.stack.0.mixer.out"),
        ("lm_head", "never pruned"),
    ],
)
@pytest.mark.parametrize("option", ["include", "exclude"])
def test_an_expression_in_no_name_is_refused(option: str, expression: str, near: str) -> None:
    """Whatever else is asked for: what was meant is not done."""
    found = find_structure(Odd())
    with pytest.raises(InputError) as error:
        choose_linears(found, **{option: ["out", expression], "skip_blocks": [0]})
    [problem] = error.value.problems
    assert problem.startswith(f"--{option}: ")
    assert f"found {expression}, which is in none" in problem
    assert near in problem


def test_all_that_names_nothing_is_told_at_once() -> None:
    found = find_structure(Odd())
    with pytest.raises(InputError) as error:
        choose_linears(found, include=["a1"], exclude=["b2", "out", "c3"], skip_blocks=[9])
    assert len(error.value.problems) == 4
    assert len(names(choose_linears(found, exclude=["b2", "out"], strict=False))) == 3


def test_an_exclude_that_changes_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    found = find_structure(Odd())
    with caplog.at_level("INFO", logger="mwanda"):
        chosen = choose_linears(found, include=["mixer.out"], exclude=["mixer.in"])
    assert names(chosen) == names(choose_linears(found, include=["mixer.out"]))
    assert "--exclude mixer.in changes nothing" in caplog.text


def test_the_nearest_name_minds_no_capitals_and_no_ending() -> None:
    for expression in ("MIXER.OUT", "mixer.out.weight"):
        with pytest.raises(InputError) as error:
            choose_linears(find_structure(Odd()), exclude=[expression])
        nearest = str(error.value).partition("nearest: ")[2].partition(",")[0]
        assert nearest.endswith("mixer.out")
    assert "a name ends before .weight" in str(error.value)
