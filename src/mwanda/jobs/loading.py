"""Opening a model for streaming: config, checkpoint, skeleton, dtypes, all checked at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mwanda.device import (
    choose_compute_dtype,
    choose_device,
    computes_on_host,
    dtype_name,
    parse_dtype,
)
from mwanda.errors import InputError
from mwanda.model.quantised import refuse_quantised
from mwanda.model.reader import Checkpoint
from mwanda.model.skeleton import build_skeleton, load_config
from mwanda.model.source import ModelSource
from mwanda.model.streamed import StreamedDecoder
from mwanda.options import RunOptions
from mwanda.ranks import local_rank

__all__ = ["PRUNABLE", "open_decoder", "source_dtype"]

PRUNABLE = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


@contextmanager
def open_decoder(
    source: ModelSource, options: RunOptions, *, measuring: bool = False
) -> Iterator[StreamedDecoder]:
    """A streamed decoder over a model folder.

    Args:
        measuring: for an evaluation: ``auto`` computes in float32 on a CPU, because a number that
            is compared should not carry bf16's rounding.

    Raises:
        InputError: anything wrong with the folder, the config, the device or the dtypes.
    """
    device = choose_device(options.device, local_rank())
    wanted = parse_dtype(options.compute_dtype, "--compute-dtype")
    with Checkpoint.open(source.folder) as checkpoint:
        config = load_config(source.folder, trust_remote_code=options.trust_remote_code)
        refuse_quantised(checkpoint)
        stored = source_dtype(checkpoint)
        if measuring and wanted is None and computes_on_host(device) and stored != torch.float64:
            wanted = torch.float32
        dtype = choose_compute_dtype(wanted, stored, device)
        model = build_skeleton(config, dtype, trust_remote_code=options.trust_remote_code)
        decoder = StreamedDecoder(model, checkpoint, device, dtype)
        _refuse_odd_dtypes(decoder)
        try:
            yield decoder
        finally:
            decoder.close()


def source_dtype(checkpoint: Checkpoint) -> torch.dtype:
    """The floating dtype that most of the checkpoint's weights have."""
    sizes: dict[torch.dtype, int] = {}
    for info in checkpoint.tensors.values():
        if info.dtype in PRUNABLE:
            sizes[info.dtype] = sizes.get(info.dtype, 0) + info.nbytes
    return max(sizes, key=lambda dtype: sizes[dtype]) if sizes else torch.float32


def _refuse_odd_dtypes(decoder: StreamedDecoder) -> None:
    for linear in decoder.structure.linears():
        info = decoder.checkpoint.tensors[decoder.place(linear).stored]
        if info.dtype not in PRUNABLE:
            raise InputError(
                f"{info.file}: tensor {info.name}",
                expected="weights in bf16, fp16, fp32 or fp64",
                found=f"quantised weights in {dtype_name(info.dtype)}",
                fix="prune the original model, then quantise the result",
            )
