"""Which share of a folder's zeros is still zero in a form of it, in the environment of its runtime.

python zeros.py RUNTIME ARTEFACT FOLDER
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open


def llama_cpp(artefact: str, folder: str) -> float:
    from mwanda import check_gguf

    return check_gguf(artefact, folder).share


def plain(artefact: str, folder: str) -> float:
    return share(dict(_linears(artefact)), folder)


def transformers(artefact: str, folder: str) -> float:
    """A folder that transformers takes as quantised, as plain numbers again."""
    from transformers import AutoModelForCausalLM, CompressedTensorsConfig

    config = json.loads(Path(artefact, "config.json").read_text())["quantization_config"]
    how = {}
    if config["quant_method"] == "compressed-tensors":
        how["quantization_config"] = CompressedTensorsConfig(run_compressed=False)
    model = AutoModelForCausalLM.from_pretrained(artefact, **how)
    return share({name: _dequantised(one) for name, one in model.named_parameters()}, folder)


def _dequantised(weight: Any) -> torch.Tensor:
    if (state := getattr(weight, "quant_state", None)) is not None:
        from bitsandbytes.functional import dequantize_4bit

        whole: torch.Tensor = dequantize_4bit(weight.data, state)
        return whole
    plain = weight if type(weight) is torch.nn.Parameter else weight.detach()
    return plain.dequantize() if hasattr(plain, "tensor_impl") or "qdata" in dir(plain) else plain


def openvino(artefact: str, folder: str) -> float:
    """Whole numbers that equal their row's zero point count as zero."""
    import openvino as ov

    found: dict[str, torch.Tensor] = {}
    for node in ov.Core().read_model(f"{artefact}/openvino_model.xml").get_ops():
        if node.get_type_name() == "Constant":
            found[node.get_friendly_name()] = torch.from_numpy(node.data.copy())
    named = {}
    for name, stored in found.items():
        at = found.get(f"{name}/zero_point")
        whole = stored.int() if at is None else stored.int() - at.int()
        place = name.removeprefix("self.").replace("._openvino_orig_weight", ".weight")
        named[place] = whole if stored.dtype in (torch.int8, torch.uint8) else stored
    return share(named, folder)


STACKED = {
    "q_proj": "self_attention/linear_0", "k_proj": "self_attention/linear_0",
    "v_proj": "self_attention/linear_0", "o_proj": "self_attention/linear_1",
    "gate_proj": "ffn/linear_0", "up_proj": "ffn/linear_0_noact", "down_proj": "ffn/linear_1",
}  # fmt: skip
"""The matrix of a layer that holds a linear's rows, in this order where there are several."""


def ctranslate2(artefact: str, folder: str) -> float:
    """Its int8 has no offset, and queries, keys and values lie in one matrix."""
    stored = dict(_of_ctranslate2(Path(artefact, "model.bin")))
    linears = dict(_linears(folder))
    found: dict[str, torch.Tensor] = {}
    for layer in {name.split(".")[2] for name in linears}:
        begin: dict[str, int] = {}
        for part, place in STACKED.items():
            name = next(n for n in linears if f".{layer}." in n and n.endswith(f"{part}.weight"))
            start = begin.get(place, 0)
            begin[place] = end = start + len(linears[name])
            found[name] = stored[f"decoder/layer_{layer}/{place}/weight"][start:end]
    return share(found, folder)


def _of_ctranslate2(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """The int8 matrices of the layers, as its writer lays them out."""
    with path.open("rb") as file:

        def number(kind: str) -> int:
            return int(struct.unpack(kind, file.read(struct.calcsize(kind)))[0])

        def word() -> str:
            return file.read(number("H"))[:-1].decode()

        number("I"), word(), number("I")
        for _ in range(number("I")):
            name = word()
            shape = [number("I") for _ in range(number("B"))]
            number("B")
            raw = file.read(number("I"))
            if "/linear_" in name and len(shape) == 2 and len(raw) == shape[0] * shape[1]:
                yield name, torch.frombuffer(bytearray(raw), dtype=torch.int8).view(shape)


def share(found: dict[str, Any], folder: str) -> float:
    zeros = kept = 0
    for name, weight in _linears(folder):
        held = torch.as_tensor(found[name])[weight == 0]
        zeros, kept = zeros + held.numel(), kept + int((held == 0).sum())
    return kept / zeros


def _linears(folder: str) -> Iterator[tuple[str, torch.Tensor]]:
    for path in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118
                if name.endswith("_proj.weight"):
                    yield name, file.get_tensor(name)


if __name__ == "__main__":
    runtime, *places = sys.argv[1:]
    ways = {"plain": plain, "transformers": transformers, "llama.cpp": llama_cpp,
            "openvino": openvino, "ctranslate2": ctranslate2}  # fmt: skip
    print(ways[runtime](*places))
