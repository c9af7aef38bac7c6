"""The commands around a finished model: pack, unpack, quantise, gguf-check, push."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mwanda.cli import early
from mwanda.cli import options as opt
from mwanda.cli.calls import print_result, run_options_of

if TYPE_CHECKING:
    from mwanda.pruned.gguf_check import GgufCheck
    from mwanda.pruned.pack import PackResult
    from mwanda.pruned.quantise import QuantiseResult

Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="Chunks coded at a time. Default: cores.")
]


def add_commands(app: typer.Typer) -> None:
    """Give the application these commands."""
    app.command()(pack)
    app.command()(unpack)
    app.command()(quantise)
    app.command("gguf-check")(gguf_check)
    app.command()(push)


def pack(
    folder: Annotated[Path, typer.Argument(help="A model folder, usually a pruned one.")],
    out: Annotated[Path, typer.Option("--out", help="Archive to write, ending in .mwz.")],
    level: Annotated[
        int,
        typer.Option("--level", min=0, max=22, help="Of zstd, tried beside Huffman; 0: not tried."),
    ] = 0,
    threads: Threads = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
) -> None:
    """Pack FOLDER into one smaller file, lossless: masks and byte planes under zstd."""
    early.check_folder(folder, "a model folder")
    early.check_output(out, ".mwz", overwrite=overwrite)
    from mwanda.pruned.pack import pack as run
    from mwanda.system.progress import progress_bar

    with progress_bar() as progress:
        made = run(folder, out, level=level, threads=threads, overwrite=overwrite,
                   progress=progress)  # fmt: skip
    print_result(made.as_dict(), _sizes(made), as_json)


def unpack(
    archive: Annotated[Path, typer.Argument(help="A file that mwanda pack wrote.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; must not exist.")],
    threads: Threads = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
) -> None:
    """Write the folder again that ARCHIVE was made of, every file checked by its SHA-256."""
    early.check_file(archive, "an archive that mwanda pack wrote")
    early.check_folder_out(out, None, overwrite=overwrite)
    from mwanda.pruned.pack import unpack as run
    from mwanda.system.progress import progress_bar

    with progress_bar() as progress:
        made = run(archive, out, threads=threads, overwrite=overwrite, progress=progress)
    print_result(made.as_dict(), _sizes(made), as_json)


def quantise(
    model: opt.Model,
    kind: Annotated[str, typer.Option("--type", help="Q8_0, Q5_1, Q5_0, Q4_1 or Q4_0.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; must not exist.")],
    max_shard_size: opt.MaxShardSize = "5GB",
    trust_remote_code: opt.TrustRemoteCode = False,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
) -> None:
    """Write MODEL with the weights that a GGUF of this type holds, as a plain folder."""
    from mwanda.model.gguf.types import check_type

    check_type(kind)
    early.check_model(model)
    early.check_folder_out(out, model, overwrite=overwrite)
    from mwanda.system.progress import progress_bar

    given = {"max_shard_size": max_shard_size, "trust_remote_code": trust_remote_code,
             "overwrite": overwrite}  # fmt: skip
    with progress_bar() as progress:
        from mwanda.pruned.quantise import quantise as run

        made = run(model, out, kind, options=run_options_of(given, progress=progress))
    print_result(made.as_dict(), _quantised(made), as_json)


def gguf_check(
    gguf: Annotated[Path, typer.Argument(help="A GGUF file made of a pruned folder.")],
    folder: Annotated[Path, typer.Argument(help="The pruned folder.")],
    fail_below: Annotated[
        str | None,
        typer.Option("--fail-below", help="Exit 3 if a smaller share is kept, e.g. 99.9%."),
    ] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Say which share of FOLDER's zeros is still zero in a GGUF file, by quantisation type."""
    from mwanda.evaluation.gate import parse_share

    least = None if fail_below is None else parse_share(fail_below, "--fail-below")
    early.check_file(gguf, "a GGUF file")
    early.check_folder(folder, "the pruned folder")
    from mwanda.pruned.gguf_check import check_gguf as run

    found = run(gguf, folder)
    print_result(found.as_dict(), _kept(found), as_json)
    for line in found.warnings:
        typer.echo(f"warning: {line}", err=True)
    if least is not None:
        found.check(least)


def push(
    folder: Annotated[Path, typer.Argument(help="A folder that mwanda wrote.")],
    repo: Annotated[str, typer.Argument(metavar="REPO_ID", help="organisation/name on the hub.")],
    public: Annotated[
        bool, typer.Option("--public", help="For everybody to see; otherwise private.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Into a repository that mwanda filled before.")
    ] = False,
    as_json: opt.AsJson = False,
) -> None:
    """Verify FOLDER and upload it to the hub, private unless told otherwise."""
    early.check_pruned(folder)
    from mwanda.pruned.push import push as run

    made = run(folder, repo, public=public, overwrite=overwrite)
    who = "private" if made.private else "public"
    text = f"{made.url}: {len(made.files)} files, {made.bytes / 1e6:,.1f} MB, {who}"
    print_result(made.as_dict(), text, as_json)


def _sizes(made: PackResult) -> str:
    share = made.stored / made.raw if made.raw else 1.0
    return (
        f"{made.files} files with {made.tensors} tensors: {made.raw / 1e6:,.1f} MB unpacked, "
        f"{made.stored / 1e6:,.1f} MB packed ({share:.3f}), "
        f"{made.raw / 1e6 / made.seconds:,.0f} MB/s"
    )


def _quantised(made: QuantiseResult) -> str:
    lines = [
        f"{made.folder}: {made.tensors} matrices in {made.type}; all weights take "
        f"{made.bytes / 1e6:,.1f} MB in GGUF, {made.source_bytes / 1e6:,.1f} MB before; "
        f"{made.zeros_lost:,} zeros lost; written in float32"
    ]
    lines += [f"as it was: {name}, {why}" for name, why in made.kept.items()]
    return "\n".join(lines)


def _kept(found: GgufCheck) -> str:
    from mwanda.system.text_tables import plain

    rows: dict[str, list[int]] = {}
    for row in found.tensors.values():
        sums = rows.setdefault(row.type, [0, 0, 0])
        for place, value in enumerate((1, row.zeros, row.kept)):
            sums[place] += value
    table = [
        [kind, f"{count:,}", f"{zeros:,}", f"{kept:,}", f"{kept / zeros:.4%}" if zeros else ""]
        for kind, (count, zeros, kept) in sorted(rows.items())
    ]
    text = plain(["type", "matrices", "zeros", "kept", "share"], table)
    return f"{text}\n{found.share:.4%} of the zeros kept"
