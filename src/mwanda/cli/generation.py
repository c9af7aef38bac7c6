"""``mwanda translate`` and ``mwanda tasks``: what a model writes and chooses, scored."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mwanda.cli import early
from mwanda.cli import options as opt
from mwanda.cli.calls import print_result, run_options_of


def add_commands(app: typer.Typer) -> None:
    """Put the commands of this file into the program."""
    app.command()(translate)
    app.command()(tasks)


def translate(
    model: opt.Model,
    text: Annotated[
        str,
        typer.Option("--text", help="Parallel text: one id in all languages, as --calibration."),
    ],
    direction: Annotated[
        list[str], typer.Option("--direction", help="SOURCE-TARGET, e.g. en-de; may be repeated.")
    ],
    text_field: opt.TextField = None,
    sentences: opt.Sentences = None,
    shots: Annotated[
        int, typer.Option("--shots", min=0, help="Examples in a prompt, of ids not scored.")
    ] = 5,
    ids: opt.Ids = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of sentences and examples.")] = 0,
    batch: Annotated[
        int, typer.Option("--batch", min=1, help="Sentences generated at a time.")
    ] = 8,
    device: opt.Device = "auto",
    compute_dtype: opt.ComputeDtype = "auto",
    allow_overlap: opt.AllowOverlap = False,
    trust_remote_code: opt.TrustRemoteCode = False,
    as_json: opt.AsJson = False,
) -> None:
    """Translate parallel sentences after a few examples: BLEU and chrF++ by sacrebleu."""
    from mwanda.evaluation.texts import parse_ids
    from mwanda.evaluation.translation import parse_direction
    from mwanda.system.extras import need
    from mwanda.system.progress import progress_bar

    directions = [parse_direction(one) for one in direction]
    places = None if ids is None else parse_ids(ids)
    early.check_model(model)
    text = opt.with_field(text, text_field) or text
    early.check_text(text)
    need("sacrebleu", "BLEU and chrF++", "translation")
    given: dict[str, Any] = locals()
    with progress_bar() as progress:
        from mwanda.evaluation.parallel import read_parallel
        from mwanda.evaluation.translate import translate as run

        parallel, chosen = read_parallel(
            text, directions, sentences=sentences, shots=shots, ids=places, seed=seed
        )
        options = run_options_of(given, progress=progress)
        result = run(model, parallel, chosen, batch=batch, options=options)
    from mwanda.study.report.translation_table import translation_text

    print_result(result.as_dict(), translation_text(result), as_json)


def tasks(
    model: opt.Model,
    task: Annotated[
        list[str],
        typer.Option("--task", help="xcopa=FOLDER or xwinograd=FILE; with --hub NAME. Repeatable."),
    ],
    languages: opt.Languages = None,
    items: Annotated[
        int, typer.Option("--items", min=1, help="Most items a language, drawn by --seed.")
    ] = 100,
    every: Annotated[bool, typer.Option("--all", help="All items, whatever --items.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the items.")] = 0,
    hub: Annotated[
        bool, typer.Option("--hub", help="Let lm-eval fetch its stock tasks from the hub.")
    ] = False,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Requests of one forward.")] = 8,
    device: opt.Device = "auto",
    compute_dtype: opt.ComputeDtype = "auto",
    allow_overlap: opt.AllowOverlap = False,
    trust_remote_code: opt.TrustRemoteCode = False,
    as_json: opt.AsJson = False,
) -> None:
    """Accuracy in multiple-choice tasks by lm-eval, with standard errors, by language."""
    from mwanda.evaluation.tasks.harness import need_harness
    from mwanda.evaluation.tasks.reading import parse_tasks, read_tasks
    from mwanda.system.progress import progress_bar
    from mwanda.text.languages import parse_languages

    asked = parse_tasks(task)
    tags = None if languages is None else parse_languages(languages)
    early.check_model(model)
    need_harness()
    texts = read_tasks(asked, tags, hub=hub)
    given: dict[str, Any] = locals()
    with progress_bar() as progress:
        from mwanda.evaluation.score_tasks import evaluate_tasks

        options = run_options_of(given, progress=progress)
        result = evaluate_tasks(
            model, texts, languages=tags, items=None if every else items, seed=seed, hub=hub,
            batch=batch, options=options,
        )  # fmt: skip
    from mwanda.study.report.task_table import tasks_text

    print_result(result.as_dict(), tasks_text(result), as_json)
