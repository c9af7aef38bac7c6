"""From one weight and the Gram matrix of its inputs to new weights, its failures named."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from mwanda.errors import DataError
from mwanda.methods.gram import GramSums
from mwanda.methods.kinds import Pattern, Reconstruction, options_of
from mwanda.methods.reconstruction.factor import NotPositiveError, Reconstructed
from mwanda.system.finite import is_finite, narrowed

REMEDIES = "use more calibration text, more damping or shrinkage, or no reconstruction"

log = logging.getLogger("mwanda")


def update_weight(
    name: str,
    weight: torch.Tensor,
    mask: torch.Tensor | None,
    gram: GramSums,
    row: Reconstruction,
    options: Mapping[str, Any],
    pattern: Pattern,
    sparsity: float,
) -> Reconstructed:
    """Reconstruct one weight ``[out, in]``, which is not changed, in its own dtype.

    Args:
        mask: the criterion's, bool ``[out, in]``; not looked at where the method has its own.
        pattern, sparsity: for a method that chooses its own mask.
    """
    matrix, what = gram.matrix.to(weight.device), f"linear {name}, reconstruction {row.name}"
    try:
        if row.prune is not None:
            share = sparsity if pattern.fixed is None else pattern.fixed
            keep = round(pattern.group * (1 - share))
            own = options_of(row.prune, options)
            made = row.prune(weight, matrix, share, keep, pattern.group, **own)
        else:
            made = row.reconstruct(weight, mask, matrix, **options_of(row.reconstruct, options))
    except NotPositiveError as error:
        raise DataError(
            what,
            expected="a Gram matrix of its inputs that damping makes invertible",
            found=str(error),
            fix="use more calibration text, --compute-dtype float32, or no reconstruction",
        ) from error
    if not is_finite(made.weight):
        raise DataError(what, expected="finite weights", found="NaN or infinity", fix=REMEDIES)
    fix = f"{REMEDIES}; or give the model in bfloat16 or float32"
    stored = narrowed(what, made.weight, weight.dtype, fix)
    if made.raised:
        log.warning(
            "linear %s: its Gram matrix was not positive definite; %s went on with damping of "
            "%g mean diagonals",
            name,
            row.name,
            made.damping,
        )
    return replace(made, weight=stored)
