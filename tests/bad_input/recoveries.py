"""What cannot be recovered, and what it cannot be recovered from."""

from __future__ import annotations

from typing import Any

import torch

from tests.bad_input.case import Case
from tests.bad_input.place import SHARD, Place

__all__ = ["RECOVERIES"]

UP = "model.layers.1.mlp.up_proj.weight"
BITMASK: dict[str, Any] = {
    "quant_method": "compressed-tensors", "format": "dense", "config_groups": {}, "ignore": [],
    "sparsity_config": {"format": "sparse-bitmask", "sparsity_structure": "unstructured"},
}  # fmt: skip
W8A8 = BITMASK | {"format": "int-quantized", "config_groups": {"group_0": {"targets": ["Linear"]}}}
PACKED = ("without their zeros, and bitmasks (compressed-tensors)", "from which it was made")
UNPACK = ("{good}/pruned.mwz", "an archive", "mwanda unpack {good}/pruned.mwz --out FOLDER")


def _without_zeros(tensors: dict[str, torch.Tensor]) -> None:
    """One weight as compressed-tensors packs it."""
    weight = tensors.pop(UP)
    bits = torch.zeros((len(weight), weight.shape[1] // 8), dtype=torch.uint8)
    tensors |= {f"{UP}.bitmask": bits, f"{UP}.compressed": weight.flatten()}


def _by_config(place: Place, said: dict[str, Any]) -> list[object]:
    return place.recover(place.model(quantization_config=said))


def _by_tensors(place: Place) -> list[object]:
    place.weights(_without_zeros)
    return place.recover(place.root / "model")


RECOVERIES = (
    Case("recover: an archive", lambda p: p.recover(p.good / "pruned.mwz"), UNPACK),
    Case("recover: from an archive", lambda p: p.recover(None, "--dense", p.good / "pruned.mwz"),
         UNPACK),
    Case("recover: an archive, called", lambda p: lambda: _call(p), UNPACK),
    Case("recover: bitmasks told by the config", lambda p: _by_config(p, BITMASK),
         ("{root}/model/config.json", *PACKED)),
    Case("recover: bitmasks told by tensors", _by_tensors,
         (f"{{root}}/model/{SHARD}", f"{UP}.bitmask", *PACKED)),
    Case("recover: bitmasks of whole numbers", lambda p: _by_config(p, W8A8),
         ("config.json", "quantised weights (compressed-tensors)", "original")),
    Case("recover: a model without zeros", lambda p: p.recover(p.good / "model"),
         ("{good}/model", "no zero", "mwanda prune")),
    Case("recover: no text", lambda p: p.recover(None)[:-2], ("--calibration", "found none")),
    Case("recover: an output and a plan", lambda p: p.recover(None, "--plan"),
         ("--out", "found both")),
)  # fmt: skip


def _call(place: Place) -> object:
    import mwanda

    text = str(place.good / "other")
    return mwanda.recover(
        place.good / "pruned.mwz", place.out, dense=place.good / "model", calibration=text
    )
