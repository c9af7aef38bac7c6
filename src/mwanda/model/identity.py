"""Which model this is, told from its weights: for what was made of one and is used on it later."""

from __future__ import annotations

import hashlib
import math

import torch

from mwanda.model.run.decoder import Decoder
from mwanda.model.run.streamed import StreamedDecoder
from mwanda.model.stored.layout import byte_view

PIECE = 1 << 20
"""Weights looked at together."""


def linears_sha256(decoder: Decoder) -> str:
    """SHA-256 of the names, shapes and values of every linear in the blocks, in hexadecimal.

    Values count and not their dtype: a bf16 weight and the same one in float32 are alike.
    """
    digest = hashlib.sha256()
    for block in decoder.structure.blocks:
        decoder.expect(block.linears)
        for linear in block.linears:
            digest.update(f"{linear.name} {linear.rows} {linear.columns}\n".encode())
            weight = decoder.source_weight(linear)
            for rows in weight.split(max(1, PIECE // linear.columns)):
                _add(digest, rows)
    return digest.hexdigest()


def rest_sha256(decoder: StreamedDecoder) -> str:
    """The same of every stored tensor that no linear lies in: embeddings, norms, the head."""
    places = {decoder.place(linear).stored for linear in decoder.structure.linears()}
    digest = hashlib.sha256()
    tensors = decoder.checkpoint.tensors
    for name in sorted(tensors.keys() - places):
        digest.update(f"{name} {[*tensors[name].shape]}\n".encode())
        dtype, count = tensors[name].dtype, math.prod(tensors[name].shape)
        for start in range(0, count, PIECE):
            part = torch.empty(min(PIECE, count - start), dtype=dtype)
            decoder.checkpoint.read_bytes(name, start * dtype.itemsize, byte_view(part))
            _add(digest, part)
    return digest.hexdigest()


def _add(digest: hashlib._Hash, values: torch.Tensor) -> None:
    """Hash values in the narrowest of bf16, float32 and float64 that holds them all exactly."""
    here = values.detach().cpu()
    if here.dtype.is_floating_point and here.dtype.itemsize > 1:
        for dtype in (torch.bfloat16, torch.float32):
            if here.dtype == dtype:
                break
            narrow = here.to(dtype)
            if torch.equal(narrow.to(torch.float64), here.to(torch.float64)):
                here = narrow
                break
    digest.update(str(here.dtype).encode())
    digest.update(byte_view(here.contiguous()))
