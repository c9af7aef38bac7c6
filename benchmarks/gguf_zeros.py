"""Which share of a pruned model's zeros is still zero after a round trip through GGUF?

Gemma 3 270M pruned to 50 % is written as GGUF in four types through the library ``gguf``, as the
tests do it: every matrix under the name that llama.cpp's converter gives it. ``mwanda gguf-check``
compares it position by position. Q4_1 is there as a type that gives every group an offset of its
own.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))  # the tests

import torch
from gguf import GGMLQuantizationType
from tests.support.gguf_files import write_gguf
from transformers import AutoModelForCausalLM

from harness import Table, bar, options_of, parsed, save
from processes import call
from real_models import pruned_folder

KEEP = ("Q8_0", "Q5_0", "Q4_0")
TYPES = (*KEEP, "Q4_1")


def main() -> None:
    parser = options_of(__doc__, "gguf_zeros")
    parser.add_argument("--folder", type=Path, help="a pruned Gemma 3 270M; made if absent")
    given = parsed(parser)
    folder = given.folder or pruned_folder(given)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    found, rows, bars = {}, [], []
    for name in TYPES:
        path = given.work / f"{name}.gguf"
        write_gguf(path, "gemma3", model, kind=GGMLQuantizationType[name])
        checked = call(given, "gguf-check", path, folder, "--json").output
        tensors, size = checked["tensors"].values(), path.stat().st_size
        zeros, kept = (sum(row[key] for row in tensors) for key in ("zeros", "kept"))
        told = {key: checked[key] for key in ("share", "warnings", "missing")}
        found[name] = {"bytes": size, "zeros": zeros, "kept": kept, **told}
        path.unlink()
        warned = "yes" if checked["warnings"] else "no"
        rows.append([name, f"{size / 1e6:.0f}", str(len(tensors)), f"{zeros:,}",
                     f"{kept:,}", f"{checked['share']:.4%}", warned])  # fmt: skip
        if name in KEEP:
            bars.append(bar(f"{name}: share of zeros kept", checked["share"], least=1.0))
    header = ["type", "file, MB", "linears", "zeros", "still zero", "share", "warned of"]
    save(given.results, {"types": found}, tables=[Table(header, rows)], bars=bars)


if __name__ == "__main__":
    main()
