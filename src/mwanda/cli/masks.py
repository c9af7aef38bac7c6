"""``mwanda mask``: masks by themselves, out of a pruned folder and onto a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mwanda.cli import early
from mwanda.cli import options as opt
from mwanda.cli.calls import print_result

if TYPE_CHECKING:
    from mwanda.pruned.mask_files import Extracted
    from mwanda.pruning.manifest_parts import PruneResult

mask = typer.Typer(
    help="Masks alone: take them out of a pruned folder, apply them to a model.",
    add_completion=False,
    rich_markup_mode=None,
)


@mask.command()
def extract(
    folder: Annotated[Path, typer.Argument(help="A folder that mwanda wrote.")],
    out: Annotated[Path, typer.Option("--out", help="File to write, .safetensors.")],
    trust_remote_code: opt.TrustRemoteCode = False,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
) -> None:
    """Write which weights of FOLDER are not zero, one bit each."""
    early.check_pruned(folder)
    early.check_output(out, ".safetensors", overwrite=overwrite)
    from mwanda.pruned.mask_files import extract_masks

    made = extract_masks(
        folder, out, overwrite=overwrite, trust_remote_code=trust_remote_code
    )  # fmt: skip
    print_result(_extracted_json(made), _extracted_text(made), as_json)


@mask.command()
def apply(
    masks: Annotated[Path, typer.Argument(help="A file of masks.")],
    model: opt.Model,
    out: Annotated[Path, typer.Option("--out", help="Folder to write; must not exist.")],
    dtype: opt.Dtype = None,
    max_shard_size: opt.MaxShardSize = "5GB",
    trust_remote_code: opt.TrustRemoteCode = False,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
) -> None:
    """Set to zero in MODEL what MASKS remove, and write the folder that a prune would write."""
    from mwanda.system.files import parse_size
    from mwanda.system.progress import progress_bar

    size = parse_size(max_shard_size, "--max-shard-size")
    early.check_file(masks, kind="masks")
    early.check_model(model)
    early.check_folder_out(out, model, overwrite=overwrite)
    with progress_bar() as progress:
        from mwanda.pruned.mask_files import apply_masks
        from mwanda.system.run_options import RunOptions

        run_options = RunOptions(
            max_shard_size=size,
            overwrite=overwrite,
            trust_remote_code=trust_remote_code,
            progress=progress,
        )
        made = apply_masks(masks, model, out, dtype=dtype, options=run_options)
    print_result(_applied_json(made), _applied_text(made), as_json)


def _extracted_json(made: Extracted) -> dict[str, Any]:
    return {
        "masks": str(made.path),
        "bytes": made.size,
        "totals": made.manifest.totals.model_dump(),
        "zero_before": made.zero_before,
        "updated_by": made.updated,
    }


def _extracted_text(made: Extracted) -> str:
    totals = made.manifest.totals
    lines = [
        f"{made.path}: {made.size / 1e6:,.1f} MB, masks of {totals.linears} linears, "
        f"{totals.sparsity:.4%} of {totals.weights:,} weights removed"
    ]
    if made.zero_before:
        lines.append(
            f"{made.zero_before:,} of them were zero before the prune and not in its masks: in a "
            "folder they look alike"
        )
    if made.updated is not None:
        lines.append(
            f"the weights kept were changed by {made.updated}: masks alone do not bring them back"
        )
    return "\n".join(lines)


def _applied_json(made: PruneResult) -> dict[str, Any]:
    manifest = made.manifest
    origin = manifest.mask_file
    return {
        "folder": str(made.folder),
        "mask_file": None if origin is None else origin.model_dump(),
        "totals": manifest.totals.model_dump(),
        "dtype": manifest.dtype,
        "seconds": manifest.seconds,
    }


def _applied_text(made: PruneResult) -> str:
    manifest, totals = made.manifest, made.manifest.totals
    took = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in manifest.seconds.items())
    return (
        f"{made.folder}: {totals.sparsity:.4%} of {totals.weights:,} weights in {totals.linears} "
        f"linears removed ({totals.model_sparsity:.2%} of the whole model; "
        f"{totals.source_zeros:,} were zero already), written in {manifest.dtype}\n{took}"
    )
