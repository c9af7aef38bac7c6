"""Around a finished model: verify, diff, mask, pack, unpack, quantise, gguf-check, push."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from mwanda.cli import early
from mwanda.cli import options as opt
from mwanda.cli.views import View
from mwanda.cli.views import finished as views
from mwanda.model.gguf.types import check_type

log = logging.getLogger("mwanda")

WRITING = ("max_shard_size", "trust_remote_code", "overwrite", *opt.LOUD)
EXTRACTING = ("trust_remote_code", "overwrite", *opt.LOUD)
CODING = ("threads", "overwrite", *opt.LOUD)


def verify(
    folder: opt.PrunedFolder,
    against: Annotated[str | None, "The source: all that is not pruned has to equal it."] = None,
    mask: Annotated[Path | None, "The masks of the same prune, of --masks-only."] = None,
    junit: Annotated[Path | None, "Write what was found as JUnit XML for CI, .xml."] = None,
    **given: Annotated[Any, ("overwrite", *opt.LOUD)],
) -> Iterator[View]:
    """Check a pruned folder: files whole, zeros and sparsity as the manifest says, rest as in the
    source."""
    early.check_pruned(folder)
    early.check_model(against)
    early.check_file(mask, kind="masks")
    reports = early.report_files({"junit": junit}, overwrite=given["overwrite"])
    from mwanda.pruned.verify import verify as run

    with opt.progress_of(given) as progress:
        found = run(folder, against=against, masks=mask, progress=progress)
    for output in reports.values():
        output.write(views.verified_xml(folder, found))
    yield views.verified(found, every=given["verbose"])
    found.raise_for_problems(folder)


def diff(
    first: Annotated[Path, typer.Argument(help="A pruned folder, or a file of masks.")],
    second: Annotated[Path, typer.Argument(help="Another.")],
    **given: Annotated[Any, opt.LOUD],
) -> Iterator[View]:
    """Say where the masks of two pruned models differ, by block and by linear."""
    early.check_masks(first)
    early.check_masks(second)
    from mwanda.pruned.diff import diff as run

    with opt.progress_of(given) as progress:
        found = run(first, second, progress=progress)
    yield views.compared(found)


def extract(
    folder: opt.PrunedFolder, out: opt.OutFile, **given: Annotated[Any, EXTRACTING]
) -> Iterator[View]:
    """Write which weights of FOLDER are not zero, one bit each."""
    early.check_pruned(folder)
    early.check_output(out, ".safetensors", overwrite=given["overwrite"])
    from mwanda.pruned.mask_files import extract_masks

    with opt.progress_of(given) as progress:
        how = {name: given[name] for name in ("overwrite", "trust_remote_code")}
        made = extract_masks(folder, out, progress=progress, **how)
    yield views.extracted(made)


def apply(
    masks: Annotated[Path, typer.Argument(help="A file of masks.")],
    model: opt.Model,
    out: opt.OutFolder,
    dtype: str | None,
    **given: Annotated[Any, WRITING],
) -> Iterator[View]:
    """Set to zero in MODEL what MASKS remove, and write the folder that a prune would write."""
    early.check_file(masks, kind="masks")
    early.check_model(model)
    early.check_folder_out(out, model, overwrite=given["overwrite"])
    with opt.progress_of(given, model) as progress:
        run_options = opt.run_options_of(given, progress=progress)
        from mwanda.pruned.mask_files import apply_masks

        made = apply_masks(masks, model, out, dtype=dtype, options=run_options)
    yield views.applied(made)


def pack(
    folder: Annotated[Path, typer.Argument(help="A model folder, usually a pruned one.")],
    out: Annotated[Path, "Archive to write, ending in .mwz."],
    level: Annotated[
        int, typer.Option(min=0, max=22, help="Of zstd, tried beside Huffman; 0: not tried.")
    ] = 0,
    **given: Annotated[Any, CODING],
) -> Iterator[View]:
    """Pack FOLDER into one smaller file, lossless: masks and byte planes under zstd."""
    early.check_folder(folder, "a model folder")
    early.check_output(out, ".mwz", overwrite=given["overwrite"])
    from mwanda.pruned.pack import pack as run

    with opt.progress_of(given) as progress:
        how = {name: given[name] for name in ("threads", "overwrite")}
        made = run(folder, out, level=level, progress=progress, **how)
    yield views.packed(made)


def unpack(
    archive: Annotated[Path, typer.Argument(help="A file that mwanda pack wrote.")],
    out: opt.OutFolder,
    **given: Annotated[Any, CODING],
) -> Iterator[View]:
    """Write the folder again that ARCHIVE was made of, every file checked by its SHA-256."""
    early.check_file(archive, "an archive that mwanda pack wrote")
    early.check_folder_out(out, None, overwrite=given["overwrite"])
    from mwanda.pruned.pack import unpack as run

    with opt.progress_of(given) as progress:
        how = {name: given[name] for name in ("threads", "overwrite")}
        made = run(archive, out, progress=progress, **how)
    yield views.packed(made)


def quantise(
    model: opt.Model,
    kind: Annotated[
        str,
        "Q8_0, Q5_1, Q5_0, Q4_1, Q4_0, INT8 or INT8_G128; -LINEARS after it leaves embeddings.",
        "--type",
    ],
    out: opt.OutFolder,
    **given: Annotated[Any, WRITING],
) -> Iterator[View]:
    """Write MODEL with the weights that are left of it in this type, as a plain folder."""
    check_type(kind)
    early.check_model(model)
    early.check_folder_out(out, model, overwrite=given["overwrite"])
    with opt.progress_of(given, model) as progress:
        from mwanda.pruned.quantise import quantise as run

        made = run(model, out, kind, options=opt.run_options_of(given, progress=progress))
    yield views.quantised(made)


def gguf_check(
    gguf: Annotated[Path, typer.Argument(help="A GGUF file made of a pruned folder.")],
    folder: Annotated[Path, typer.Argument(help="The pruned folder.")],
    fail_below: Annotated[str | None, "Exit 3 if a smaller share is kept, e.g. 99.9%."] = None,
    **given: Annotated[Any, opt.LOUD],
) -> Iterator[View]:
    """Say which share of FOLDER's zeros is still zero in a GGUF file, by quantisation type."""
    from mwanda.evaluation.gate import parse_share

    least = None if fail_below is None else parse_share(fail_below, "--fail-below")
    early.check_file(gguf, "a GGUF file")
    early.check_folder(folder, "the pruned folder")
    from mwanda.pruned.gguf_check import check_gguf as run

    with opt.progress_of(given) as progress:
        found = run(gguf, folder, progress=progress)
    yield views.zeros_kept(found)
    for line in found.warnings:
        typer.echo(f"warning: {line}", err=True)
    if least is not None:
        found.check(least)


def push(
    folder: opt.PrunedFolder,
    repo: Annotated[str, typer.Argument(metavar="REPO_ID", help="organisation/name on the hub.")],
    public: Annotated[bool, "For everybody to see; otherwise private."] = False,
    overwrite: Annotated[bool, "Into a repository that mwanda filled before."] = False,
    **given: Annotated[Any, ("quiet",)],
) -> Iterator[View]:
    """Verify FOLDER and upload it to the hub, private unless told otherwise."""
    early.check_pruned(folder)
    log.info("checking and sending %s", folder)
    from mwanda.pruned.push import push as run

    yield views.pushed(run(folder, repo, public=public, overwrite=overwrite))
