"""A model's blocks and linears: what they are called, where their weights lie, which are chosen.

A *block* is one repeated decoder layer; a *linear* is a matrix inside a block that is applied to
activations: ``nn.Linear`` (weight ``[out, in]``), transformers' ``Conv1D`` (``[in, out]``), or one
expert's slice of a fused parameter (:mod:`mwanda.model.run.experts`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

import torch

from mwanda.errors import InputError, shown
from mwanda.model.stored.parts import Box

EXPERT = re.compile(r"^(.*\bexperts)\.(\d+)\.")

log = logging.getLogger("mwanda")


@dataclass(frozen=True)
class Fused:
    """Where one expert's matrix lies: the fused parameter's name from the root, and which part."""

    parameter: str
    box: Box


@dataclass(frozen=True)
class Linear:
    """One prunable matrix, ``[out, in]`` whatever its layout in memory."""

    # Module path from the model's root, e.g. model.layers.3.mlp.down_proj; of a fused expert as if
    # it were a module: model.layers.3.mlp.experts.7.down_proj.
    name: str
    rows: int
    columns: int
    transposed: bool  # the weight is kept [in, out] (Conv1D)
    fused: Fused | None = None  # set where the matrix is a part of a larger parameter

    @property
    def parameter(self) -> str:
        """Name of the weight from the model's root."""
        return f"{self.name}.weight" if self.fused is None else self.fused.parameter

    @property
    def expert(self) -> tuple[str, int] | None:
        """Path of the experts and number of this one, for a matrix that sees routed tokens only."""
        return expert_of(self.name)

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.rows * self.columns


@dataclass(frozen=True)
class Block:
    """One decoder layer: its place, module path and prunable linears, in module order."""

    index: int
    name: str
    linears: tuple[Linear, ...]

    @property
    def size(self) -> int:
        """Number of prunable weights."""
        return sum(linear.size for linear in self.linears)


@dataclass(frozen=True)
class Structure:
    """A model seen as ``backbone(embedding -> blocks -> norm) -> head``."""

    backbone: str  # path of the module whose forward runs the blocks
    blocks: tuple[Block, ...]  # in order of execution
    towers: tuple[
        str, ...
    ] = ()  # prefixes of modules that text does not enter: model.vision_tower.

    def linears(self) -> Iterator[Linear]:
        for block in self.blocks:
            yield from block.linears


def expert_of(name: str) -> tuple[str, int] | None:
    """Path of the experts and number of the one a linear belongs to, by the linear's name."""
    match = EXPERT.match(name)
    return None if match is None else (match[1], int(match[2]))


def as_matrix(weight: torch.Tensor, linear: Linear) -> torch.Tensor:
    """The weight as an ``[out, in]`` view, or back again: the turn is its own inverse."""
    return weight.t() if linear.transposed else weight


def matrix_in(parameter: torch.Tensor, linear: Linear) -> torch.Tensor:
    """The ``[out, in]`` view of a linear in the parameter that holds it."""
    if linear.fused is not None:
        parameter = parameter[tuple(slice(*sides) for sides in linear.fused.box)].squeeze(0)
    return as_matrix(parameter, linear)


def choose_linears(
    structure: Structure,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    skip_blocks: Sequence[int] = (),
    strict: bool = True,
) -> Structure:
    """Keep only the linears the user asked for; blocks stay, perhaps with none to prune.

    A linear is kept when any ``include`` expression is found in its name (or none is given) and
    no ``exclude`` expression is. An expression that is in no name is refused, but (not ``strict``)
    for a recipe that was followed before that was asked.
    """
    last = len(structure.blocks) - 1
    names = [linear.name for linear in structure.linears()]
    problems = [
        str(_in_no_name(option, expression, names))
        for option, expressions in (("--include", include), ("--exclude", exclude))
        for expression in expressions
        if strict and not any(re.search(expression, name) for name in names)
    ]
    wrong = [str(k) for k in skip_blocks if not 0 <= k <= last]
    if wrong:
        problems.append(
            f"--skip-blocks: expected block numbers from 0 to {last}, found {', '.join(wrong)}"
        )
    if problems:
        raise InputError.several(problems)
    wanted = {
        linear.name
        for block in structure.blocks
        for linear in block.linears
        if block.index not in skip_blocks and (not include or _in_any(include, linear.name))
    }
    for expression in exclude:
        if not any(re.search(expression, name) for name in wanted):
            log.info("--exclude %s changes nothing: what it names is left out anyway", expression)
    wanted = {name for name in wanted if not _in_any(exclude, name)}
    kept = [
        replace(block, linears=tuple(one for one in block.linears if one.name in wanted))
        for block in structure.blocks
    ]
    if not wanted:
        what = "--include/--exclude/--skip-blocks"
        fix = f"linear names look like {structure.blocks[0].linears[0].name}"
        raise InputError(what, expected="at least one linear to prune", found="none left", fix=fix)
    return replace(structure, blocks=tuple(kept))


def _in_any(expressions: Sequence[str], name: str) -> bool:
    return any(re.search(expression, name) for expression in expressions)


def _in_no_name(option: str, expression: str, names: Sequence[str]) -> InputError:
    return InputError(
        option,
        expected="a regular expression that is in the name of a linear",
        found=f"{shown(expression)}, which is in none",
        fix=f"nearest: {', '.join(_nearest(expression, names))}; embeddings, head and routers have "
        "no name here: they are never pruned"
        + ("; a name ends before .weight" if "weight" in expression else ""),
    )


def _nearest(expression: str, names: Sequence[str]) -> list[str]:
    """The three names most like an expression, each of another kind: blocks and experts differ by
    number only."""
    written = re.sub(r"[^\w.]+", "", re.sub(r"[\[\]]+", ".", expression)).replace("..", ".")
    written = written.casefold().strip(".").removesuffix(".weight")
    last = written.rpartition(".")[2]

    def likeness(name: str) -> float:
        whole = SequenceMatcher(None, written, name).ratio()
        return whole + SequenceMatcher(None, last, name.rpartition(".")[2]).ratio()

    kinds: dict[str, str] = {}
    for name in sorted(names, key=likeness, reverse=True):  # of the same likeness, the first
        kinds.setdefault(re.sub(r"\d+", "", name), name)
    return list(kinds.values())[:3]
