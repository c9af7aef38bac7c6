"""What torch's own table of operations says of a kind of device that is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torchgen
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.support.accelerators import KIND

TABLE = Path(torchgen.__file__).parent / "packaged" / "ATen" / "native" / "native_functions.yaml"

STREAMS = "aten.record_stream.default"
"""Only where a kind has streams, and mps has one."""


@contextmanager
def missing_on_mps() -> Iterator[set[str]]:
    """The operations that run on the pretend device inside, and have no kernel on mps."""
    found: set[str] = set()
    with _Noted(found):
        yield found


class _Noted(TorchDispatchMode):
    def __init__(self, found: set[str]) -> None:
        super().__init__()
        self._found = found

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        tensors = (one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor))
        name = str(operation)
        if name != STREAMS and not on_mps(name) and any(t.device.type == KIND for t in tensors):
            self._found.add(name)
        return operation(*args, **(kwargs or {}))


def on_mps(name: str) -> bool:
    """Whether mps has an operation, as ``aten.add.Tensor``."""
    delegate, keys = _table()[name]
    if delegate is not None:
        return on_mps(delegate)
    return not keys or any(key == "MPS" or key.startswith("Composite") for key in keys)


@cache
def _table() -> dict[str, tuple[str | None, tuple[str, ...]]]:
    """Operation -> the one it is made of, and the kinds of device that it is written for; none for
    one that is made of others."""
    found = {}
    for entry in re.split(r"^- func: ", TABLE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        name = _full(entry.partition("(")[0])
        made_of = re.search(r"^  structured_delegate: (\S+)", entry, re.MULTILINE)
        written = re.search(r"^  dispatch:\n((?:    .*\n?)+)", entry, re.MULTILINE)
        kinds = re.findall(r"^    ([\w, ]+):", written[1], re.MULTILINE) if written else []
        keys = tuple(key.strip() for some in kinds for key in some.split(","))
        found[name] = (None if made_of is None else _full(made_of[1]), keys)
    return found


def _full(name: str) -> str:
    return f"aten.{name}" if "." in name else f"aten.{name}.default"
