"""What a model does in each language, scored: eval, translate, tasks."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from mwanda.cli import early
from mwanda.cli import options as opt
from mwanda.cli.views import View
from mwanda.errors import InputError, MwandaError
from mwanda.evaluation.runtimes.registry import device_of
from mwanda.system.extras import need
from mwanda.system.files import is_there
from mwanda.system.output import MARK
from mwanda.system.progress import First
from mwanda.text.languages import parse_languages

log = logging.getLogger("mwanda")

EVAL = (
    "text_field", "baseline", "languages", "sentences", "seed", "ids", "max_length",
    "fail_if_worse_than", "language", "gate_on", "other_baseline", "generate", "continuations",
    "cache", "update_card", "html", "markdown", "junit", "overwrite", *opt.FORWARD,
    "allow_overlap", "trust_remote_code", *opt.LOUD,
)  # fmt: skip
WHOLE_MODEL = ("device", "compute_dtype", "allow_overlap", "trust_remote_code", *opt.LOUD)
TRANSLATE = ("text_field", "sentences", "shots", "ids", "seed", "batch", *WHOLE_MODEL)
TASKS = ("languages", "items", "every", "seed", "hub", "batch", *WHOLE_MODEL)


def evaluate(
    model: opt.Model,
    text: str,
    baseline: Annotated[str | None, "Model to compare with, usually the dense one."] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the subset.")] = 0,
    fail_if_worse_than: Annotated[
        str | None, "Exit 3 if a language's NLL per sentence rises by more, e.g. 5%."
    ] = None,
    other_baseline: Annotated[bool, "Let a gate compare with another model's base."] = False,
    generate: Annotated[
        bool, "Show one continuation a language; needs the model in memory."
    ] = True,
    continuations: Annotated[
        int,
        typer.Option(
            min=0, help="Continue so many texts a language; count repetition and other languages."
        ),
    ] = 0,
    runtime: Annotated[
        str | None,
        "Score MODEL in the program that serves it: transformers, llama.cpp, openvino, "
        "ctranslate2, vllm, or openai with --url.",
    ] = None,
    tokenizer: Annotated[str | None, "Folder whose tokenizer gives the ids, for --runtime."] = None,
    url: Annotated[str | None, "Address of the server, for --runtime openai."] = None,
    cache: Annotated[
        Path | None, "Folder that keeps scores by hash; read back if unchanged."
    ] = None,
    update_card: Annotated[bool, "Put the table into MODEL's README.md."] = False,
    html: Annotated[Path | None, "Write a report as a page that needs no network, .html."] = None,
    markdown: Annotated[Path | None, "Write the report as Markdown, .md."] = None,
    junit: Annotated[Path | None, "Write the gate as JUnit XML for CI, .xml."] = None,
    **given: Annotated[Any, EVAL],
) -> Iterator[View]:
    """Score every language under MODEL, and against a baseline when one is given."""
    from mwanda.evaluation.gate import Gate
    from mwanda.evaluation.results import Comparison
    from mwanda.evaluation.texts import parse_ids

    option = "--fail-if-worse-than"
    gate = Gate.parse(fail_if_worse_than, given["language"] or [], option, given["gate_on"])
    if gate is not None and baseline is None:
        named = option if fail_if_worse_than is not None else "--language"
        raise InputError(named, expected="a --baseline", found="none")
    if other_baseline and gate is None:
        asked = f"a limit, {option} or --language"
        raise InputError("--other-baseline", expected=asked, found="none")
    if update_card:
        from mwanda.pruning.folder.card import check_card

        if not (Path(model) / MARK).is_file():
            raise InputError("--update-card", expected="a folder that mwanda wrote", found=model)
        check_card(Path(model))
    if junit is not None and gate is None:
        raise InputError("--junit", expected=f"a limit, {option} or --language", found="none")
    reports = early.report_files(
        {"html": html, "markdown": markdown, "junit": junit}, overwrite=given["overwrite"]
    )
    artefact = early.artefact(model, runtime, tokenizer, url)
    base_artefact = {} if baseline is None else early.artefact_beside(baseline, artefact)
    if artefact:  # both are computed on the same kind of device
        given["device"] = device_of(artefact["runtime"], given["device"])
    languages = None if given["languages"] is None else parse_languages(given["languages"])
    early.check_text(text, languages)
    if continuations:
        need("py3langid", "--continuations", "translation")
    ids = None if given["ids"] is None else parse_ids(given["ids"])
    with opt.progress_of(given, model) as progress:
        from mwanda.evaluation.baseline import check_baseline
        from mwanda.evaluation.evaluate import evaluate as run
        from mwanda.evaluation.texts import read_texts
        from mwanda.pruning.folder.known_text import known_in_folder

        for one in (model, baseline):  # a damaged record is told before the work
            if one is not None and is_there(Path.is_dir, Path(one)):
                known_in_folder(Path(one))
        texts = read_texts(text, languages, sentences=given["sentences"], seed=seed, ids=ids)
        if gate is not None:
            gate.check_languages(texts.texts)
        is_base = None
        if baseline is not None and not base_artefact:
            refuse = gate is not None and not other_baseline
            itself = bool(artefact) and early.is_same(model, baseline)  # in another runtime
            is_base = itself or check_baseline(model, baseline, refuse=refuse)
        how: dict[str, Any] = {
            "max_length": given["max_length"], "cache": cache, "generated": continuations,
            "options": opt.run_options_of(given, progress=progress),
        }  # fmt: skip
        first = how | {"options": opt.run_options_of(given, progress=First(progress))}
        own = (how if baseline is None else first) | artefact
        result = run(model, texts, continuations=generate and not artefact, **own)
        compared = None
        if baseline is not None:
            log.info("opening %s", baseline)
            compared = Comparison.of(run(baseline, texts, **how, **base_artefact), result)
    from mwanda.cli.views import scores as views

    if reports:
        from mwanda.study.report.one_model import Found, write_reports

        write_reports(reports, Found(result, compared, gate, is_base))
    if compared is None:
        yield views.evaluated(result)
    else:
        yield views.compared(compared, gate, is_base)
    failed = None
    if update_card:
        from mwanda.pruning.folder.card import update_card as put

        try:
            put(Path(model), views.card_table(result, compared))
        except MwandaError as error:
            if gate is None:
                raise
            log.warning("the card is as it was: %s", error)
            failed = error
    if compared is not None and gate is not None:
        gate.check(compared)
    if failed is not None:
        raise failed


def translate(
    model: opt.Model,
    text: Annotated[str, "Parallel text: one id in all languages, as --calibration."],
    direction: Annotated[list[str], "SOURCE-TARGET, e.g. en-de; may be repeated."],
    shots: Annotated[int, typer.Option(min=0, help="Examples in a prompt, of ids not scored.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of sentences and examples.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Sentences generated at a time.")] = 8,
    **given: Annotated[Any, TRANSLATE],
) -> Iterator[View]:
    """Translate parallel sentences after a few examples: BLEU and chrF++ by sacrebleu."""
    from mwanda.evaluation.texts import parse_ids
    from mwanda.evaluation.translation import parse_direction

    directions = [parse_direction(one) for one in direction]
    ids = None if given["ids"] is None else parse_ids(given["ids"])
    early.check_model(model)
    tags = [tag for one in directions for tag in (one.source, one.target)]
    early.check_text(text, list(dict.fromkeys(tags)))
    need("sacrebleu", "BLEU and chrF++", "translation")
    with opt.progress_of(given, model) as progress:
        from mwanda.evaluation.parallel import read_parallel
        from mwanda.evaluation.translate import translate as run

        parallel, chosen = read_parallel(
            text, directions, sentences=given["sentences"], shots=shots, ids=ids, seed=seed
        )
        options = opt.run_options_of(given, progress=progress)
        result = run(model, parallel, chosen, batch=batch, options=options)
    from mwanda.cli.views.scores import translated

    yield translated(result)


def tasks(
    model: opt.Model,
    task: Annotated[list[str], "xcopa=FOLDER or xwinograd=FILE; with --hub NAME. Repeatable."],
    items: Annotated[
        int, typer.Option(min=1, help="Most items a language, drawn by --seed.")
    ] = 100,
    every: Annotated[bool, "All items, whatever --items.", "--all"] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the items.")] = 0,
    hub: Annotated[bool, "Let lm-eval fetch its stock tasks from the hub."] = False,
    batch: Annotated[int, typer.Option(min=1, help="Requests of one forward.")] = 8,
    **given: Annotated[Any, TASKS],
) -> Iterator[View]:
    """Accuracy in multiple-choice tasks by lm-eval, with standard errors, by language."""
    from mwanda.evaluation.tasks.harness import need_harness
    from mwanda.evaluation.tasks.reading import parse_tasks, read_tasks

    asked = parse_tasks(task)
    tags = None if given["languages"] is None else parse_languages(given["languages"])
    early.check_model(model)
    need_harness()
    texts = read_tasks(asked, tags, hub=hub)
    with opt.progress_of(given, model) as progress:
        from mwanda.evaluation.score_tasks import evaluate_tasks

        options = opt.run_options_of(given, progress=progress)
        result = evaluate_tasks(
            model, texts, languages=tags, items=None if every else items, seed=seed, hub=hub,
            batch=batch, options=options,
        )  # fmt: skip
    from mwanda.cli.views.scores import answered

    yield answered(result)
