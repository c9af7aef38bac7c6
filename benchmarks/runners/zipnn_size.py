"""ZipNN over one file of bfloat16 numbers, in an environment of its own; prints JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import zipnn

raw = Path(sys.argv[1]).read_bytes()
coder = zipnn.ZipNN(bytearray_dtype="bfloat16", threads=1)
# A copy: it rearranges the bytes that it is given.
packed = coder.compress(bytearray(raw))
print(json.dumps({"size": len(packed), "equal": bytes(coder.decompress(packed)) == raw}))
