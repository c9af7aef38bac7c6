"""Opening a model for streaming: config, checkpoint, skeleton, dtypes, all checked at once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from mwanda.errors import InputError, shown
from mwanda.model.run.discovery import LAYER_FIELDS
from mwanda.model.run.skeleton import build_skeleton, load_config
from mwanda.model.run.streamed import StreamedDecoder
from mwanda.model.source import ModelSource
from mwanda.model.stored.quantised import quantised_tensor, refuse_quantised
from mwanda.model.stored.reader import Checkpoint
from mwanda.model.stored.unread import said_of
from mwanda.system.device import (
    DTYPES,
    HOST,
    NOWHERE,
    choose_compute_dtype,
    choose_device,
    computes_on_host,
    dtype_name,
    parse_dtype,
)
from mwanda.system.ranks import local_rank
from mwanda.system.run_options import RunOptions

log = logging.getLogger("mwanda")

PRUNABLE = tuple(DTYPES.values())


@contextmanager
def open_decoder(
    source: ModelSource,
    options: RunOptions,
    *,
    measuring: bool = False,
    shape_for: torch.device | None = None,
) -> Iterator[StreamedDecoder]:
    """A streamed decoder over a model folder. For measuring, ``auto`` computes in float32 on a
    CPU, because a number that is compared should not carry bf16's rounding. One whose shape alone
    is looked at, for what another device will do, lies on the host."""
    device = shape_for or choose_device(options.device, local_rank())
    parse_dtype(options.compute_dtype, "--compute-dtype")
    with Checkpoint.open(source.folder) as checkpoint:
        config = load_config(source.folder, trust_remote_code=options.trust_remote_code)
        refuse_quantised(checkpoint)
        dtype = resolve_dtype(source_dtype(checkpoint), device, options, measuring=measuring)
        _refuse_sizes(config, checkpoint, options)
        model = build_skeleton(config, dtype, trust_remote_code=options.trust_remote_code)
        place = device if shape_for is None else HOST
        decoder = StreamedDecoder(model, checkpoint, place, dtype)
        for linear in decoder.structure.linears():
            info = checkpoint.tensors[decoder.place(linear).stored]
            if info.dtype not in PRUNABLE:
                raise quantised_tensor(info, f"in {dtype_name(info.dtype)}")
        for name, other in decoder.untied:
            log.warning(
                "%s/config.json ties %s to %s; they are stored with different values, so each is "
                "used as it is stored, as transformers does",
                source.folder, name, other,
            )  # fmt: skip
        if decoder.unread:
            log.warning(said_of(decoder.unread, model, str(source.folder)))
        try:
            yield decoder
        finally:
            decoder.close()


def resolve_dtype(
    stored: torch.dtype, device: torch.device, options: RunOptions, *, measuring: bool
) -> torch.dtype:
    """What the forward of a model stored in ``stored`` runs in, see :func:`open_decoder`."""
    wanted = parse_dtype(options.compute_dtype, "--compute-dtype")
    if measuring and wanted is None and computes_on_host(device) and stored != torch.float64:
        wanted = torch.float32
    return choose_compute_dtype(wanted, stored, device)


def source_dtype(checkpoint: Checkpoint) -> torch.dtype:
    """The floating dtype that most of the checkpoint's weights have."""
    sizes: dict[torch.dtype, int] = {}
    for info in checkpoint.tensors.values():
        if info.dtype in PRUNABLE:
            sizes[info.dtype] = sizes.get(info.dtype, 0) + info.nbytes
    return max(sizes, key=lambda dtype: sizes[dtype]) if sizes else torch.float32


def _refuse_sizes(config: Any, checkpoint: Checkpoint, options: RunOptions) -> None:
    """Refuse a config that promises more than is stored, before anything of that size is made.

    Where a number is larger than every dimension stored, the model is built without any memory
    first, and its shapes are compared: a mere buffer of that size could fill it.
    """
    count = len(checkpoint.tensors)
    text = config.get_text_config(decoder=True)
    for name in LAYER_FIELDS:
        layers = getattr(text, name, None)
        if isinstance(layers, int) and layers > count:
            raise InputError(
                f"{checkpoint.folder}/config.json: {name}",
                expected=f"at most the {count} tensors that are stored",
                found=shown(str(layers)),
                fix="config.json is not this model's; download both again",
            )
    largest = max((max(info.shape, default=0) for info in checkpoint.tensors.values()), default=0)
    if any(number > largest for number in _numbers(text.to_dict())):
        model = build_skeleton(
            config, torch.float32, trust_remote_code=options.trust_remote_code, hollow=True
        )
        most = max(count, largest)  # experts are stored one by one, or side by side in one tensor
        for name, parameter in model.named_parameters():
            if parameter.ndim > 2 and len(parameter) > most:
                raise InputError(
                    f"{checkpoint.folder}/config.json: {name}",
                    expected=f"at most {most} experts, which is all that could be stored",
                    found=str(len(parameter)),
                    fix="config.json is not this model's; download both again",
                )
        StreamedDecoder(model, checkpoint, NOWHERE, torch.float32).close()


def _numbers(value: Any) -> Iterator[int]:
    """Every whole number in a config, at any depth."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield value
