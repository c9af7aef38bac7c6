"""Which share of a pruned model's zeros is still zero after a round trip through GGUF?

Gemma 3 270M pruned to 50 % is written as GGUF in four types through the library ``gguf``, every
matrix under the name that llama.cpp's converter gives it, and compared position by position by
``mwanda gguf-check``. Q4_1 is there as a type that gives every group an offset of its own.
"""

from __future__ import annotations

from pathlib import Path

import gguf
from gguf.quants import quantize

from harness import Table, bar, options_of, parsed, save
from mwanda.model.stored.reader import Checkpoint
from processes import call
from real_models import pruned_folder

KEEP = ("Q8_0", "Q5_0", "Q4_0")
TYPES = (*KEEP, "Q4_1")


def write(folder: Path, path: Path, kind: gguf.GGMLQuantizationType) -> None:
    """Matrices quantised, vectors in float32."""
    arch = next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == "gemma3")
    with Checkpoint.open(folder) as checkpoint:
        blocks = 1 + max(
            int(name.split(".")[2]) for name in checkpoint.tensors if ".layers." in name
        )
        names = gguf.get_tensor_name_map(arch, blocks)
        writer = gguf.GGUFWriter(path, "gemma3")
        writer.add_block_count(blocks)
        for name in checkpoint.tensors:
            there = names.get_name(name, try_suffixes=(".weight", ".bias"))
            if there is None:
                raise ValueError(f"{name} has no name in a GGUF file")
            values = checkpoint.read(name).float().numpy()
            used = kind if values.ndim > 1 else gguf.GGMLQuantizationType.F32
            data = values if values.ndim == 1 else quantize(values, used)
            writer.add_tensor(there, data, raw_dtype=used)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def main() -> None:
    parser = options_of(__doc__, "gguf_zeros")
    parser.add_argument("--folder", type=Path, help="a pruned Gemma 3 270M; made if absent")
    given = parsed(parser)
    folder = given.folder or pruned_folder(given)
    found, rows, bars = {}, [], []
    for name in TYPES:
        path = given.work / f"{name}.gguf"
        write(folder, path, gguf.GGMLQuantizationType[name])
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
