"""What the weights of every form of a model take, and what it loses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mwanda.study.document import TRIMMED
from mwanda.study.report.data import Group, ModelResults


@dataclass(frozen=True)
class Sized:
    """Attributes:
    name: of the form.
    method: that pruned it; None where nothing was pruned.
    trimmed: whether the vocabulary is cut too.
    size: bytes.
    share: of the dense model's bytes.
    """

    name: str
    method: str | None
    trimmed: bool
    size: float
    share: float
    group: Group


def sizes_of(model: ModelResults) -> Iterator[Sized]:
    """Quantised, trimmed and pruned models; nothing where none was quantised or trimmed, since
    only that tells what the dense weights take."""
    if not model.quantised:
        return
    first = next(iter(model.quantised.values())).first["quantised"]
    whole = float(first["source_bytes"])
    for kind, group in model.quantised.items():
        size = float(group.first["quantised"]["bytes"])
        ships = "artefact" in group.first["settings"]
        trimmed = TRIMMED in kind and not ships
        name = kind if ships else f"dense{', ' if trimmed else ' in '}{kind}"
        yield Sized(name, None, trimmed, size, size / whole, group)
    trim = model.quantised.get(TRIMMED)
    for group in model.groups.values():
        size = _masked_bytes(group, first)
        yield Sized(group.method, group.method, False, size, size / whole, group)
        if trim is not None:  # rows that go lose nothing in these languages
            size -= whole - trim.first["quantised"]["bytes"]
            name = f"{group.method}, {TRIMMED}"
            yield Sized(name, group.method, True, size, size / whole, group)


def reach_of(group: Group) -> float:
    """Share of all weights that are in the pruned linears."""
    cell = group.first
    return float(cell["model_sparsity"] / cell["sparsity"]) if cell["sparsity"] else 0.0


def _masked_bytes(group: Group, sizes: Mapping[str, Any]) -> float:
    """Bytes of a pruned model's weights that are left, with one bit for each that could go."""
    left = sizes["source_bytes"] * (1 - group.first["model_sparsity"])
    return float(left + sizes["weights"] * reach_of(group) / 8)
