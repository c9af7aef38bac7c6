"""The highest sparsity at which no language loses more than it may, by bisection."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from pydantic import ValidationError

from mwanda.errors import InputError, first_problem
from mwanda.evaluation.evaluate import evaluate
from mwanda.evaluation.gate import Gate, percent
from mwanda.evaluation.results import Comparison
from mwanda.evaluation.texts import TextSet, read_texts
from mwanda.evaluation.token_batches import MAX_LENGTH
from mwanda.model.source import open_model
from mwanda.pruned.after_prune import prune
from mwanda.pruning.calibration_text import CalibrationInput, name_of
from mwanda.pruning.given_arguments import options_given, recipe_given
from mwanda.pruning.recipe.keywords import SearchFields, with_fields
from mwanda.pruning.recipe.resolved import ResolvedRecipe, resolve
from mwanda.pruning.statistics.collect import FIELDS, collect_statistics
from mwanda.pruning.task import naming_problems
from mwanda.study.document import ArtefactPart
from mwanda.study.forms import dense_sizes, look_up_artefact, score_artefact, weight_bytes
from mwanda.study.records import ArtefactRecord
from mwanda.study.search_result import Alternative, SearchResult, Trial, judged
from mwanda.system.arguments import path_given
from mwanda.system.output import OutputFolder
from mwanda.system.ranks import check_alone
from mwanda.system.run_options import RunOptions
from mwanda.system.speaking import speaking
from mwanda.system.surroundings import undisturbed

log = logging.getLogger("mwanda")


@speaking
@undisturbed()
@with_fields(SearchFields)
def search_sparsity(
    model: str | Path,
    texts: TextSet | str | Path | Mapping[str, Any],
    gate: Gate,
    *,
    calibration: CalibrationInput | None = None,
    statistics: str | Path | None = None,
    out: str | Path | None = None,
    step: float = 0.01,
    highest: float = 0.9,
    max_length: int | None = None,
    cache: str | Path | None = None,
    work: str | Path | None = None,
    artefacts: Mapping[str, str | Path | Mapping[str, Any]] | None = None,
    options: RunOptions | None = None,
    **fields: Unpack[SearchFields],
) -> SearchResult:
    """Bisect for the highest sparsity that passes a gate, all trials from the same statistics.

    Bisection takes it that what fails at one sparsity fails at every higher one.

    Args:
        model: a folder, GGUF file or hub id.
        texts: to score, read before or as :func:`mwanda.read_texts` reads them.
        gate: what the languages may lose.
        calibration: text to take statistics on once; or
        statistics: a file of them.
        out: folder to write the model of the sparsity found to.
        step: sparsities tried are its multiples.
        highest: no sparsity above is tried.
        max_length, cache: of the evaluation, see :func:`mwanda.evaluate`.
        work: where statistics and pruned models lie meanwhile; None takes the system's place.
        artefacts: name -> what ships already, judged beside the trials: a path, or ``path``,
            ``runtime`` and ``tokenizer`` as in a study.
        fields: of a recipe, without a sparsity.

    Raises:
        InputError: bad input, before any work; a recipe that fixes its sparsity, or one that saved
            statistics do not serve.
        DataError: values that are not finite.
    """
    options, model = options_given(options), str(path_given("model", model))
    check_alone("search")
    steps = _steps(step, highest)
    recipe = _recipe(fields)
    texts = texts if isinstance(texts, TextSet) else read_texts(texts)
    gate.check_languages(texts.texts)
    if out is not None:
        OutputFolder(path_given("out", out), overwrite=options.overwrite).check(Path(model))
    beside = _looked_up(artefacts or {}, model, options.device)
    if work is not None and not Path(work).is_dir():
        raise InputError("--work", expected="a folder", found=str(work))
    if statistics is not None:  # otherwise taking them looks at these first
        with open_model(model, trust_remote_code=options.trust_remote_code) as opened:
            problems = naming_problems(opened, [recipe], options)
        if problems:
            raise InputError.several(problems)
    with tempfile.TemporaryDirectory(prefix="mwanda-", dir=work) as place:
        scratch = Path(place)
        if statistics is None and recipe.needs_text:
            statistics = scratch / "statistics.safetensors"
            gram = "gram" in recipe.linear_needs
            taken = {*FIELDS} - ({"language_weights"} if not gram else set())
            collect_statistics(
                model, statistics, calibration=calibration, gram=gram, options=options,
                **recipe.model_dump(include=taken, exclude_unset=True),
            )  # fmt: skip
        elif statistics is not None and calibration is not None:
            raise InputError(
                "--calibration", expected="none beside --statistics", found=name_of(calibration)
            )
        given: dict[str, Any] = {"statistics": statistics, "options": options}
        dense = evaluate(model, texts, cache=cache, max_length=max_length, options=options)
        alternatives = []
        whole = dense_sizes(model, options)["source_bytes"] if beside else 0
        for name, artefact in beside.items():
            ships = score_artefact(artefact, texts, max_length or MAX_LENGTH, options)
            verdict = judged(Comparison.of(dense, ships), gate)
            alternatives.append(Alternative(name, weight_bytes(artefact), whole, **verdict))
        trials: list[Trial] = []
        passed, failed = 0, steps + 1  # the dense model passes; what is past the end was not tried
        while failed - passed > 1:
            middle = (passed + failed) // 2
            start = time.perf_counter()
            tried = recipe.model_copy(update={"sparsity": round(middle * step, 10)})
            made = prune(model, out=scratch / "model", recipe=tried, **given)
            loss = evaluate(scratch / "model", texts, max_length=max_length, options=options)
            shutil.rmtree(scratch / "model")
            reached = made.manifest.totals.sparsity
            trial = Trial(
                tried.sparsity, reached, seconds=time.perf_counter() - start,
                **judged(Comparison.of(dense, loss), gate),
            )  # fmt: skip
            trials.append(trial)
            log.info(
                "%g: %s, worst %s %s", trial.sparsity,
                "passed" if trial.passed else "failed", trial.worst, percent(trial.worst_rise, "+"),
            )  # fmt: skip
            passed, failed = (middle, failed) if trial.passed else (passed, middle)
        found = SearchResult(
            model, gate, step, highest, tuple(trials), alternatives=tuple(alternatives)
        )
        if out is None or found.sparsity is None:
            return found
        best = recipe.model_copy(update={"sparsity": found.sparsity})
        prune(model, out=out, recipe=best, **given)
        return replace(found, folder=Path(out))


def _steps(step: float, highest: float) -> int:
    problems = [
        InputError(option, expected=f"a share such as {usual}", found=f"{given:g}")
        for option, given, usual in (("--step", step, "0.01"), ("--highest", highest, "0.9"))
        if not 0 < given < 1
    ]
    if problems:
        raise InputError.several(map(str, problems))
    count = int(highest / step + 1e-9)
    if not count:
        raise InputError("--step", expected=f"at most --highest {highest:g}", found=f"{step:g}")
    return count


def _recipe(fields: Mapping[str, Any]) -> ResolvedRecipe:
    if fields.get("sparsity") is not None:
        raise InputError(
            "--sparsity", expected="none: it is what is searched for", found=str(fields["sparsity"])
        )
    recipe = resolve(recipe_given(None, fields, "search"), saved=True)
    if recipe.mode != "dense" and recipe.needs_text:
        raise InputError(
            "--mode", expected="dense: all trials share one model's statistics", found=recipe.mode
        )
    if recipe.probe is not None:
        raise InputError(
            "--allocation",
            expected="one that looks at sums",
            found=f"{recipe.allocation.name}, which runs masked blocks on text",
        )
    if recipe.recover is not None:
        raise InputError(
            "--recover", expected="no recovery: a search only prunes", found="one",
            fix="recover what it finds, by mwanda recover",
        )  # fmt: skip
    if recipe.pattern_row().fixed is not None:
        raise InputError(
            "--pattern", expected="one that leaves the sparsity open", found=recipe.pattern
        )
    return recipe


def _looked_up(
    artefacts: Mapping[str, str | Path | Mapping[str, Any]], model: str, device: str
) -> dict[str, ArtefactRecord]:
    """By name, all mistakes at once."""
    found, problems = dict[str, ArtefactRecord](), list[str]()
    for name, given in artefacts.items():
        fields = dict(given) if isinstance(given, Mapping) else {"path": str(given)}
        try:
            part = ArtefactPart.model_validate(fields)
            found[name] = look_up_artefact(part, model, device)
        except ValidationError as error:
            place, wrong = first_problem(error)
            problems.append(f"artefact {name}: {place}: {wrong}")
        except InputError as error:
            problems += [f"artefact {name}: {problem}" for problem in error.problems]
    if problems:
        raise InputError.several(problems)
    return found
