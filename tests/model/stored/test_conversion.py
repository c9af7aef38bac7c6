"""Stored tensors followed through transformers' conversions, and back to their places."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers.core_model_loading import (
    Chunk,
    Concatenate,
    Interleave,
    MergeModulelist,
    Transpose,
    WeightConverter,
    WeightRenaming,
)

from mwanda.errors import InputError
from mwanda.model.stored.conversion import Sources
from mwanda.model.stored.parts import Part, Piece, find_place, first_element, read_box, span, whole
from mwanda.model.stored.reader import Checkpoint

# transformers loads its parts late: the module itself, not an attribute of the package.
MAPPING = import_module("transformers.conversion_mapping")


class Skeleton:
    """What the conversion looks at: names, shapes, prefix and config."""

    base_model_prefix = "model"
    config = None

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def state_dict(self) -> dict[str, int]:
        return dict.fromkeys(self._names, 0)


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    def make(stored: dict[str, torch.Tensor], names: list[str], transforms: list[Any]) -> Any:
        (tmp_path / "config.json").write_text("{}")
        save_file(stored, tmp_path / "model.safetensors")
        monkeypatch.setattr(MAPPING, "get_model_conversion_mapping", lambda _model: transforms)
        checkpoint = Checkpoint.open(tmp_path)
        return Sources(Skeleton(names), checkpoint, checkpoint.read)

    return make


def value(sources: Sources, name: str) -> torch.Tensor:
    part = sources.require([name])
    made = sources.read(part, torch.float64, torch.device("cpu"))
    assert tuple(made.shape) == part.shape
    return made


def numbers(*shape: int, start: int = 0) -> torch.Tensor:
    count = torch.Size(shape).numel()
    return torch.arange(start, start + count, dtype=torch.float32).reshape(shape)


def test_experts_one_by_one_become_one_parameter(opened: Callable[..., Any]) -> None:
    stored = {
        f"layers.0.moe.experts.{number}.{leaf}.weight": numbers(2, 3, start=100 * number + shift)
        for number in range(11)  # ten comes after nine
        for leaf, shift in (("w1", 0), ("w3", 50))
    }
    transforms = [
        WeightRenaming(".moe.", ".mlp."),
        WeightConverter(
            [".experts.*.w1.weight", ".experts.*.w3.weight"],
            ".experts.both",
            [MergeModulelist(dim=0), Concatenate(dim=1)],
        ),
    ]
    name = "model.layers.0.mlp.experts.both"
    sources = opened(stored, [name], transforms)
    made = value(sources, name)
    for number in range(11):
        prefix = f"layers.0.moe.experts.{number}"
        assert torch.equal(made[number, :2].float(), stored[f"{prefix}.w1.weight"])
        assert torch.equal(made[number, 2:].float(), stored[f"{prefix}.w3.weight"])
    pieces = sources.require([name]).pieces
    box = ((10, 11), (2, 4), (0, 3))
    places = [find_place(piece, box, 1, (2, 3)) for piece in pieces]
    (found,) = [place for place in places if place is not None]
    assert (found.stored, found.box) == ("layers.0.moe.experts.10.w3.weight", None)
    assert not found.transposed


def test_one_stored_tensor_becomes_several(opened: Callable[..., Any]) -> None:
    stored = {"a.qkv.weight": numbers(6, 4)}
    transforms = [
        WeightConverter("qkv.weight", ["q.weight", "k.weight", "v.weight"], [Chunk(dim=0)])
    ]
    names = ["a.q.weight", "a.k.weight", "a.v.weight"]
    sources = opened(stored, names, transforms)
    for place, name in enumerate(names):
        rows = stored["a.qkv.weight"][2 * place : 2 * place + 2]
        assert torch.equal(value(sources, name).float(), rows)
        (piece,) = sources.require([name]).pieces
        found = find_place(piece, whole((2, 4)), 0, (6, 4))
        assert found is not None
        assert found.box == ((2 * place, 2 * place + 2), (0, 4))


def test_turned_on_load(opened: Callable[..., Any]) -> None:
    stored = {"a.old": numbers(2, 3, 4)}
    sources = opened(stored, ["a.new"], [WeightConverter("old", "new", [Transpose(1, 2)])])
    assert torch.equal(value(sources, "a.new").float(), stored["a.old"].transpose(1, 2))
    (piece,) = sources.require(["a.new"]).pieces
    found = find_place(piece, ((1, 2), (0, 4), (0, 3)), 1, (2, 3, 4))
    assert found is not None
    assert (found.box, found.transposed) == (((1, 2), (0, 3), (0, 4)), True)


def test_what_cannot_be_followed_is_refused_when_it_is_needed(opened: Callable[..., Any]) -> None:
    stored = {"a.old": numbers(4, 3), "b": numbers(2)}
    sources = opened(stored, ["a.new", "b"], [WeightConverter("old", "new", [Interleave(dim=0)])])
    assert torch.equal(value(sources, "b").float(), stored["b"])
    with pytest.raises(InputError, match=r"tensors that make a\.new: .*Interleave\(dim=0\)"):
        sources.require(["a.new"])


def test_shapes_that_do_not_fit_together_are_refused(opened: Callable[..., Any]) -> None:
    stored = {"m.experts.0.w.weight": numbers(2, 3), "m.experts.1.w.weight": numbers(2, 4)}
    merge = WeightConverter("experts.*.w.weight", "experts.w", [MergeModulelist(dim=0)])
    with pytest.raises(InputError, match=r"m\.experts\.w: .*\(2, 3\), \(2, 4\).*cannot be stacked"):
        opened(stored, ["m.experts.w"], [merge]).require(["m.experts.w"])


def test_a_part_is_read_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    stored = {"x": numbers(3, 4, 5)}
    save_file(stored, tmp_path / "model.safetensors")
    with Checkpoint.open(tmp_path) as checkpoint:
        for box in (
            ((1, 2), (1, 3), (0, 5)),
            ((0, 3), (0, 4), (0, 5)),
            ((0, 2), (1, 3), (0, 5)),
            ((2, 3), (3, 4), (1, 4)),
        ):
            expected = stored["x"][tuple(slice(*sides) for sides in box)]
            assert torch.equal(read_box(checkpoint, "x", box), expected)
            stretch = span((3, 4, 5), box)
            together = first_element((3, 4, 5), box) + expected.numel() - 1
            last = first_element((3, 4, 5), tuple((stop - 1, stop) for _, stop in box))
            assert (stretch is not None) is (last == together)


def test_a_cut_across_pieces_keeps_what_belongs_to_each() -> None:
    joined = Part.join([Part.stored("a", (2, 3)), Part.stored("b", (4, 3))], 0)
    assert joined.shape == (6, 3)
    first, second = joined.split(2, 0)
    assert [piece.stored for piece in first.pieces] == ["a", "b"]
    assert first.pieces[1] == Piece("b", ((0, 1), (0, 3)), ((2, 3), (0, 3)), (0, 1), False)
    assert second.pieces == (Piece("b", ((1, 4), (0, 3)), ((0, 3), (0, 3)), (0, 1), False),)
    assert first.turned(0, 1).pieces[0].target == ((0, 3), (0, 2))
    with pytest.raises(ValueError, match="cannot be joined"):
        Part.join([Part.stored("a", (2, 3)), Part.stored("b", (2, 4))], 0)
