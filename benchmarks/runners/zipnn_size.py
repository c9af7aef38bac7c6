"""ZipNN over one file of bfloat16 numbers, in an environment of its own; prints JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import zipnn


def main() -> None:
    raw = Path(sys.argv[1]).read_bytes()
    coder = zipnn.ZipNN(bytearray_dtype="bfloat16", threads=1)
    start = time.perf_counter()
    # A copy: it rearranges the bytes that it is given.
    packed = coder.compress(bytearray(raw))
    middle = time.perf_counter()
    back = coder.decompress(packed)
    end = time.perf_counter()
    found = {"size": len(packed), "equal": bytes(back) == raw, "pack_seconds": middle - start,
             "unpack_seconds": end - middle}  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main()
