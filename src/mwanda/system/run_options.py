"""How to run: what changes speed, memory and safety, and never which weights are kept."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from mwanda.errors import InputError
from mwanda.system.arguments import whole_given
from mwanda.system.progress import Progress, Unasked

MIB = 1 << 20

FLOATS = ("float32", "bfloat16", "float16", "float64")
"""What a forward may run in, and weights may be written in."""


@dataclass(frozen=True)
class RunOptions:
    """Resources and permissions of one run.

    Attributes:
        device: ``auto``, ``cpu``, or the kind of accelerator that torch has on this machine,
            ``cuda``, ``mps``, ``xpu`` and so on: alone, or with a number, ``cuda:1``.
        compute_dtype: what the forward runs in; ``auto`` is the source's where the hardware is
            fast at it, else float32.
        batch_tokens: tokens in one forward of one block; at least one window.
        activation_memory: bytes of hidden states kept in memory; the rest goes to disk. On an
            accelerator it is of its own memory, and the rest is in the host's.
        max_shard_size: bytes of one written shard.
        overwrite: replace an existing output of mwanda's.
        journal: keep what is finished of a prune or of statistics beside the output, so that the
            same run, started again, goes on from there; not with several processes.
        restart: discard what an unfinished run has kept.
        allow_short: go on with less calibration text than asked for.
        allow_overlap: evaluate on text that was drawn for calibration.
        trust_remote_code: run code that the model folder brings along.
        progress: what is told how far the work is; ``mwanda.Silent()`` for nobody. Where it is left
            out, a public function speaks on stderr, see :mod:`mwanda.system.speaking`.
    """

    device: str = "auto"
    compute_dtype: str = "auto"
    batch_tokens: int = 2048
    activation_memory: int = 512 * MIB
    max_shard_size: int = 5_000_000_000
    overwrite: bool = False
    journal: bool = True
    restart: bool = False
    allow_short: bool = False
    allow_overlap: bool = False
    trust_remote_code: bool = False
    progress: Progress = field(default_factory=Unasked)

    def __post_init__(self) -> None:
        for name, least in (("batch_tokens", 1), ("activation_memory", 0), ("max_shard_size", 1)):
            whole_given(name, getattr(self, name), least)
        for each in fields(self):
            wanted, value = {"str": str, "bool": bool}.get(str(each.type)), getattr(self, each.name)
            if wanted is not None and not isinstance(value, wanted):
                expected = "text" if wanted is str else "True or False"
                raise InputError(each.name, expected=expected, found=repr(value))
