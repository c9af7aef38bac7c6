"""``mwanda gguf-check``: how many of a pruned folder's zeros a GGUF file still has."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mwanda.errors import GateError, InputError
from mwanda.model.gguf.file import open_gguf
from mwanda.model.gguf.header import GgufHeader
from mwanda.model.gguf.header import GgufTensor as StoredTensor
from mwanda.model.gguf.weights import dequantised
from mwanda.model.given import is_gguf
from mwanda.model.stored.reader import Checkpoint
from mwanda.pruning.folder.manifest import MANIFEST, find_manifest
from mwanda.system.arguments import path_given
from mwanda.system.progress import Progress, watched
from mwanda.system.shown import Shown
from mwanda.system.speaking import speaking
from mwanda.system.surroundings import undisturbed

ZERO_KEEPING = frozenset({
    "F64", "F32", "F16", "BF16", "Q8_0", "Q5_0", "Q4_0", "Q6_K", "Q3_K", "TQ1_0", "TQ2_0", "MXFP4",
    "NVFP4",
})  # fmt: skip
"""GGUF types whose grid of values holds zero: the others have an offset of their own in every
group of weights (Q4_1, Q5_1, Q2_K, Q4_K, Q5_K) or a table without it (IQ types)."""

MANY = 0.01
"""Share of zeros from which a matrix counts as pruned where no manifest says so."""


@dataclass(frozen=True)
class GgufTensor:
    """One pruned matrix: its name in the GGUF file, its type there, zeros before and after."""

    name: str
    type: str
    zeros: int
    kept: int


@dataclass(frozen=True, repr=False)
class GgufCheck(Shown):
    """What :func:`check_gguf` found: checkpoint name -> what became of the matrix, and the names of
    pruned matrices that were not found under their name and shape."""

    tensors: Mapping[str, GgufTensor]
    missing: tuple[str, ...]

    def _summary(self) -> str:
        return f"{len(self.tensors)} tensors, {self.share:.2%} of the zeros are still zero"

    def _records(self) -> list[dict[str, Any]]:
        return [{"tensor": name, **asdict(one)} for name, one in self.tensors.items()]

    @property
    def share(self) -> float:
        """Share of the zeros that are still zero."""
        zeros = sum(row.zeros for row in self.tensors.values())
        return sum(row.kept for row in self.tensors.values()) / zeros if zeros else 1.0

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line for every type in the file that has no zero, and for what was not compared."""
        kinds = Counter(row.type for row in self.tensors.values())
        lines = [
            f"{count} pruned matrices are in {kind}, which does not keep zeros; "
            "quantise to Q8_0, Q5_0, Q4_0 or Q6_K instead"
            for kind, count in sorted(kinds.items())
            if kind not in ZERO_KEEPING
        ]
        if self.missing:
            lines.append(f"{len(self.missing)} pruned matrices not compared: {self.missing[0]} …")
        return tuple(lines)

    def as_dict(self) -> dict[str, Any]:
        return {
            "share": self.share,
            "warnings": list(self.warnings),
            "tensors": {name: asdict(row) for name, row in self.tensors.items()},
            "missing": list(self.missing),
        }

    def check(self, least: float) -> None:
        """Raise :class:`GateError` where a smaller share of the zeros is left, or nobody knows."""
        if self.missing:
            raise GateError(
                "zeros kept", expected="every pruned matrix in the GGUF file, to be compared",
                found=f"{len(self.missing)} not found there, the first {self.missing[0]}",
                fix="upgrade gguf, or give the GGUF file that was made of this folder",
            )  # fmt: skip
        if self.share < least:
            raise GateError(
                "zeros kept", expected=f"at least {least:.4%}", found=f"{self.share:.4%}",
                fix="quantise to Q8_0, Q5_0, Q4_0 or Q6_K",
            )  # fmt: skip


@speaking
@undisturbed()
def check_gguf(
    gguf: str | Path, folder: str | Path, *, progress: Progress | None = None
) -> GgufCheck:
    """Compare a GGUF file with the pruned folder it was made of, position by position.

    Looked at are the linears in ``mwanda.json``, or without one every matrix with 1 % zeros or
    more. The rows of some families' queries and keys are in another order in a GGUF file; that
    order is tried too.

    Raises:
        InputError: not a GGUF file, an unreadable folder, ``gguf`` not installed, or a file of
            another model: not one of the matrices is in it.
    """
    path, folder = path_given("gguf", gguf), path_given("folder", folder)
    if not is_gguf(path):
        raise InputError(str(path), expected="a GGUF file", found="nothing of that kind")
    header = open_gguf(path)
    stored = {tensor.name: tensor for tensor in header.tensors}
    names = _name_map(header)
    found: dict[str, GgufTensor] = {}
    missing: list[str] = []
    with Checkpoint.open(folder) as checkpoint:
        heads = _heads(folder)
        for name in watched(_pruned(folder, checkpoint), "compare", progress, "matrix"):
            zero = (checkpoint.read(name) == 0).numpy()
            if zero.ndim == 1 or (zero.mean() < MANY and not (folder / MANIFEST).is_file()):
                continue
            there, expert = _find(names, name)
            row = _compare(zero, header, stored[there], expert, heads) if there in stored else None
            if row is None:
                missing.append(name)
            else:
                found[name] = row
    if not found:
        raise InputError(
            str(path), expected=f"the matrices of {folder}",
            found=f"none of {len(missing)} under their name and shape",
            fix="give the GGUF file that was made of this folder",
        )  # fmt: skip
    return GgufCheck(found, tuple(missing))


def _name_map(header: GgufHeader) -> Any:
    """gguf's own map from a checkpoint's tensor names to those of the file."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    kind = header.fields.get("general.architecture")
    blocks = header.fields.get(f"{kind}.block_count")
    arch = next((key for key, value in MODEL_ARCH_NAMES.items() if value == kind), None)
    if arch is None or not isinstance(blocks, int):
        raise InputError(
            str(header.path), expected="an architecture that the library gguf knows",
            found=repr(kind), fix="upgrade gguf",
        )  # fmt: skip
    return get_tensor_name_map(arch, blocks)


def _find(names: Any, name: str) -> tuple[str | None, int | None]:
    """The name there, and which expert where a file keeps all of a layer in one tensor."""
    match = re.search(r"\bexperts\.(\d+)\.", name)
    plain = re.sub(r"\bexperts\.\d+\.", "experts.", name)
    forms = (plain, plain.replace("model.language_model.", "model."),
             plain.removeprefix("language_model."), f"model.{plain}",
             f"transformer.{plain}")  # fmt: skip
    found = (names.get_name(form, try_suffixes=(".weight",)) for form in forms)
    there = next((one for one in found if one is not None), None)
    return there, None if match is None or there is None else int(match[1])


def _pruned(folder: Path, checkpoint: Checkpoint) -> list[str]:
    manifest = find_manifest(folder)
    if manifest is not None:
        records = manifest.linears.values()
        return list(dict.fromkeys(r.tensor for r in records if r.tensor in checkpoint.tensors))
    return [i.name for i in checkpoint.tensors.values() if i.dtype.is_floating_point]


def _heads(folder: Path) -> tuple[int, ...]:
    """Numbers of heads that rows may be grouped by."""
    from mwanda.model.run.skeleton import load_config

    text = load_config(folder).get_text_config(decoder=True)
    found = (getattr(text, name, None) for name in ("num_attention_heads", "num_key_value_heads"))
    return tuple(dict.fromkeys(n for n in found if isinstance(n, int) and n > 0))


def _compare(
    zero: npt.NDArray[np.bool_],
    header: GgufHeader,
    tensor: StoredTensor,
    expert: int | None,
    heads: tuple[int, ...],
) -> GgufTensor | None:
    """Zeros kept in one tensor; None where the shapes do not fit."""
    if expert is not None and len(tensor.shape) != 3:
        return None
    shape = tensor.shape if expert is None else tensor.shape[1:]
    # Conv1D lies [in, out]; of a square matrix only the zeros tell which way it was turned.
    ways = [way for way in (zero, zero.T) if way.shape == shape]
    if not ways:
        return None
    data = tensor.open(header.path)
    values = dequantised(tensor, data if expert is None else data[expert])
    still = np.concatenate([part == 0 for part in values]).reshape(shape)
    orders = [order for way in ways for order in (way, *_orders(way, heads))]
    kept = max(int(np.count_nonzero(order & still)) for order in orders)
    return GgufTensor(tensor.name, tensor.kind.name, int(np.count_nonzero(zero)), kept)


def _orders(zero: npt.NDArray[np.bool_], heads: tuple[int, ...]) -> Iterator[npt.NDArray[np.bool_]]:
    """The rows as the converter puts them where rotary halves are interleaved."""
    if zero.ndim == 2:
        for count in heads:
            if zero.shape[0] % (2 * count) == 0:
                halves = zero.reshape(count, 2, -1, zero.shape[1])
                yield halves.swapaxes(1, 2).reshape(zero.shape)
