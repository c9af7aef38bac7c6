"""``mwanda study``: run a grid of prunes, see how far it is, work on it; and its report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mwanda.cli import early
from mwanda.cli import options as opt
from mwanda.cli.calls import print_result, with_default
from mwanda.cli.recipe_fields import parse_method_options

study = typer.Typer(
    cls=with_default("run"),
    help="Run a grid of prunes and evaluations: study FILE.yaml --out DIR.",
    add_completion=False,
    rich_markup_mode=None,
)

Folder = Annotated[Path, typer.Argument(help="The folder of a study.")]


@study.command()
def run(
    document: Annotated[Path, typer.Argument(metavar="FILE", help="The study, in YAML.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the study; goes on if it is one.")],
    processes: Annotated[
        int, typer.Option("--processes", min=1, help="Local processes that share the cells.")
    ] = 1,
    cluster: Annotated[
        int | None,
        typer.Option("--cluster", min=1, help="So many jobs of a cluster, through submitit."),
    ] = None,
    cluster_option: Annotated[
        list[str] | None,
        typer.Option("--cluster-option", help="NAME=VALUE of submitit; may be repeated."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run cells again that failed before.")
    ] = False,
    as_json: opt.AsJson = False,
) -> None:
    """Prune and evaluate every cell of the grid in FILE.

    Also: mwanda study status DIR, and mwanda study work DIR, which is one more worker.
    """
    from mwanda.system.progress import progress_bar

    early.check_file(document, "a study in YAML")
    from mwanda.study.folder import StudyFolder
    from mwanda.study.launch import check_processes, failures_of, start_study

    check_processes(processes, cluster)
    options = parse_method_options(cluster_option or [], "--cluster-option")
    with progress_bar() as progress:
        found = start_study(
            document,
            out,
            processes=processes,
            retry_failed=retry_failed,
            cluster=cluster,
            cluster_options=options,
            progress=progress,
        )
    print_result(found.as_dict(), _status_text(found), as_json)
    failures_of(StudyFolder(out))


@study.command()
def status(folder: Folder, as_json: opt.AsJson = False) -> None:
    """Say which cells are done, failed, running or waiting."""
    early.check_folder(folder, "the folder of a study")
    from mwanda.study.folder import StudyFolder
    from mwanda.study.status import Status

    found = Status.of(StudyFolder.open(folder))
    print_result(found.as_dict(), _status_text(found), as_json)


@study.command()
def work(folder: Folder) -> None:
    """Be one more worker of a study that was started; ends when nothing is left to do."""
    early.check_folder(folder, "the folder of a study")
    from mwanda.study.worker import work_on

    work_on(folder)


def report(
    folder: Folder,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write. Default: report in DIR.")
    ] = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
) -> None:
    """Write a study's page, as HTML that needs no network, as Markdown, CSV and SVG."""
    early.check_folder(folder, "the folder of a study")
    from mwanda.study.report.write import write_report

    made = write_report(folder, folder / "report" if out is None else out, overwrite=overwrite)
    sizes = {str(path): path.stat().st_size for path in made}
    text = "\n".join(f"{path}: {size / 1e3:,.0f} kB" for path, size in sizes.items())
    print_result(sizes, text, as_json)


def _status_text(found: Any) -> str:
    from mwanda.study.launch import duration
    from mwanda.study.status import STATES
    from mwanda.system.text_tables import plain

    counts = ", ".join(f"{count} {state}" for state, count in found.counts.items())
    left = found.seconds_left
    more = f"; about {duration(left)} left" if left else ""
    names = {entry["key"]: _named(entry) for entry in reversed(found.entries)}
    lines = [plain(["model", "method", *STATES], found.rows())] if found.entries else []
    lines += [f"{found.folder}: {len(found.cells)} cells, {counts}{more}"]
    lines += [
        f"failed: {names[key]}: {problem}"
        for key, problems in found.failures.items()
        for problem in problems
    ]
    return "\n".join(lines)


def _named(entry: dict[str, Any]) -> str:
    seed = "" if entry["seed"] is None else f", seed {entry['seed']}"
    return f"{entry['model']}, {entry['method']}, {entry['sparsity']:g}{seed}"
