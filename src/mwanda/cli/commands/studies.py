"""Many prunes: search, study, report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mwanda.cli import early
from mwanda.cli import options as opt
from mwanda.cli.recipe_fields import recipe_fields
from mwanda.cli.views import View
from mwanda.errors import InputError
from mwanda.pruning.recipe.written import named_values
from mwanda.text.languages import parse_languages

SEARCH = (
    "language", "gate_on", "out", "step", "highest", "text_languages", "sentences", "text_seed",
    "ids", "max_length", "cache", "work", "artefact", "allow_overlap", *opt.PRUNE,
)  # fmt: skip

Folder = Annotated[Path, typer.Argument(help="The folder of a study.")]


def search(
    model: opt.Model,
    text: str,
    max_loss: Annotated[str, "What a language may lose in NLL per sentence: 5%."],
    out: Annotated[Path | None, "Folder to write the model found to."] = None,
    step: Annotated[str, "Sparsities tried are multiples of it."] = "1%",
    highest: Annotated[str, "The highest sparsity that is tried."] = "90%",
    sparsity: Annotated[
        str | None, typer.Option(hidden=True, help="Refused: what is searched for.")
    ] = None,
    text_languages: Annotated[str | None, "Scored, tags with commas. Default: all."] = None,
    text_seed: Annotated[int, typer.Option(min=0, help="Of that subset.")] = 0,
    cache: Annotated[Path | None, "Folder that keeps the dense model's scores."] = None,
    work: Annotated[Path | None, "Folder for pruned models on the way."] = None,
    artefact: Annotated[
        list[str] | None, "NAME=PATH of what ships already, judged too; may be repeated."
    ] = None,
    **given: Annotated[Any, SEARCH],
) -> Iterator[View]:
    """Find the highest sparsity at which no language of MODEL loses more than --max-loss."""
    from mwanda.evaluation.gate import Gate, parse_share
    from mwanda.evaluation.texts import parse_ids

    gate = Gate.parse(max_loss, given["language"] or [], "--max-loss", given["gate_on"])
    if gate is None:
        raise InputError("--max-loss", expected="a share such as 5%", found="none")
    early.check_model(model)
    if out is not None:
        early.check_folder_out(out, model, overwrite=given["overwrite"])
    beside = named_paths(artefact or [])
    apart, most = parse_share(step, "--step"), parse_share(highest, "--highest")
    ids = None if given["ids"] is None else parse_ids(given["ids"])
    wanted = None if text_languages is None else parse_languages(text_languages)
    fields = recipe_fields(saved=True, sparsity=sparsity, **given)
    early.check_text(text, wanted)
    early.check_evidence(given, fields.get("languages"))
    with opt.progress_of(given, model) as progress:
        from mwanda.evaluation.texts import read_texts
        from mwanda.study.search import search_sparsity

        texts = read_texts(text, wanted, sentences=given["sentences"], seed=text_seed, ids=ids)
        found = search_sparsity(
            model, texts, gate, calibration=given["calibration"], statistics=given["statistics"],
            out=out, step=apart, highest=most, max_length=given["max_length"], cache=cache,
            work=work, artefacts=beside,
            options=opt.run_options_of(given, progress=progress), **fields,
        )  # fmt: skip
    from mwanda.cli.views.studies import searched

    yield searched(found)
    found.check()


def named_paths(given: Sequence[str]) -> dict[str, str]:
    """``["v1=out/a.gguf"]`` -> ``{"v1": "out/a.gguf"}``, both as they are written."""
    found: dict[str, str] = {}
    for item in given:
        name, _, path = item.partition("=")
        if not name or not path or name in found:
            raise InputError("--artefact", expected="NAME=PATH, each name once", found=item)
        found[name] = path
    return found


def run(
    document: Annotated[Path, typer.Argument(metavar="FILE", help="The study, in YAML.")],
    out: Annotated[Path, "Folder of the study; goes on if it is one."],
    processes: Annotated[
        int, typer.Option(min=1, help="Local processes that share the cells.")
    ] = 1,
    cluster: Annotated[
        int | None, typer.Option(min=1, help="So many jobs of a cluster, through submitit.")
    ] = None,
    cluster_option: Annotated[list[str] | None, "NAME=VALUE of submitit; may be repeated."] = None,
    retry_failed: Annotated[bool, "Run cells again that failed before."] = False,
    log_to: Annotated[
        str | None, "Log every point to mlflow, trackio or wandb, by its own library."
    ] = None,
    **given: Annotated[Any, opt.LOUD],
) -> Iterator[View | str]:
    """Prune and evaluate every cell of the grid in FILE.

    Also: mwanda study status DIR, and mwanda study work DIR, which is one more worker.
    """
    early.check_file(document, "a study in YAML")
    if cluster_option and cluster is None:
        raise InputError("--cluster-option", expected="a --cluster", found="none")
    from mwanda.cli.views.studies import go_on, status_of
    from mwanda.study.folder import StudyFolder
    from mwanda.study.launch import check_processes, failures_of, start_study

    check_processes(processes, cluster)
    options = named_values(cluster_option or [], "--cluster-option")
    with opt.progress_of(given) as progress:
        found = start_study(
            document, out, processes=processes, retry_failed=retry_failed, cluster=cluster,
            cluster_options=options, log_to=log_to, progress=progress,
        )  # fmt: skip
    yield status_of(found)
    yield go_on(out)
    failures_of(StudyFolder(out))


def status(folder: Folder) -> Iterator[View]:
    """Say which cells are done, failed, running or waiting."""
    early.check_folder(folder, "the folder of a study")
    from mwanda.cli.views.studies import status_of
    from mwanda.study.folder import StudyFolder
    from mwanda.study.status import Status

    yield status_of(Status.of(StudyFolder.open(folder)))


def work(folder: Folder, **given: Annotated[Any, opt.LOUD]) -> None:
    """Be one more worker of a study that was started; ends when nothing is left to do."""
    early.check_folder(folder, "the folder of a study")
    from mwanda.study.worker import work_on

    with opt.progress_of(given) as progress:
        work_on(folder, progress)


def report(
    folder: Folder,
    out: Annotated[Path | None, "Folder to write. Default: report in DIR."] = None,
    *,
    overwrite: bool,
) -> Iterator[View]:
    """Write a study's page, as HTML that needs no network, as Markdown, CSV and SVG."""
    early.check_folder(folder, "the folder of a study")
    from mwanda.cli.views.studies import reported
    from mwanda.study.report.write import write_report

    yield reported(write_report(folder, out or folder / "report", overwrite=overwrite))
