"""The highest sparsity at which no language loses more than it may, by bisection."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from mwanda.errors import GateError, InputError
from mwanda.evaluation.evaluate import evaluate
from mwanda.evaluation.gate import Gate, percent
from mwanda.evaluation.results import Comparison
from mwanda.evaluation.texts import TextSet, read_texts
from mwanda.model.source import open_model
from mwanda.pruning.calibration_text import CalibrationInput, name_of
from mwanda.pruning.given_arguments import options_given, recipe_given
from mwanda.pruning.prune import prune
from mwanda.pruning.recipe.keywords import SearchFields, with_fields
from mwanda.pruning.recipe.resolved import ResolvedRecipe, resolve
from mwanda.pruning.statistics.collect import FIELDS, collect_statistics
from mwanda.pruning.task import naming_problems
from mwanda.system.arguments import path_given
from mwanda.system.output import OutputFolder
from mwanda.system.ranks import check_alone
from mwanda.system.run_options import RunOptions
from mwanda.system.shown import Sheet, Shown
from mwanda.system.speaking import speaking
from mwanda.system.surroundings import undisturbed

log = logging.getLogger("mwanda")


@dataclass(frozen=True)
class Trial:
    """One sparsity that was pruned and evaluated.

    Attributes:
        sparsity: asked for; ``reached``: share of zeros over the pruned linears.
        mean: rise in NLL per sentence over the dense model, mean over languages.
        worst, worst_rise: the language with the largest relative rise.
        failed: language -> rise, of those that lost more than they may.
        seconds: pruning and evaluation.
    """

    sparsity: float
    reached: float
    passed: bool
    mean: float
    worst: str
    worst_rise: float
    failed: dict[str, float]
    seconds: float


@dataclass(frozen=True, repr=False)
class SearchResult(Shown):
    """What was tried, in order, and what follows.

    Attributes:
        model: as the user named it.
        gate: what the languages may lose.
        step, highest: sparsities looked at are multiples of ``step`` up to ``highest``.
        trials: all of them; nothing is known of any other sparsity.
        folder: the model written; None where none was asked for, or none passed.
    """

    model: str
    gate: Gate
    step: float
    highest: float
    trials: tuple[Trial, ...]
    folder: Path | None = None

    def _summary(self) -> str:
        found = "no sparsity passed" if self.sparsity is None else f"sparsity {self.sparsity:g}"
        return f"{self.model}, {found}, {len(self.trials)} tried"

    def _records(self) -> list[dict[str, Any]]:
        return [asdict(trial) | {"failed": ", ".join(trial.failed)} for trial in self.trials]

    def _sheet(self) -> Sheet:
        return Sheet.of(self._records(), "mean", change=True)

    @property
    def sparsity(self) -> float | None:
        """The highest that passed; None where none did."""
        return max((trial.sparsity for trial in self.trials if trial.passed), default=None)

    @property
    def lowest_failed(self) -> float | None:
        """The lowest that failed; None where none did."""
        return min((trial.sparsity for trial in self.trials if not trial.passed), default=None)

    def as_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "limit": self.gate.limit,
            "languages": dict(self.gate.languages),
            "gate_on": self.gate.on,
            "sparsity": self.sparsity,
            "lowest_failed": self.lowest_failed,
            "step": self.step,
            "highest": self.highest,
            "folder": None if self.folder is None else str(self.folder),
            "trials": [asdict(trial) for trial in self.trials],
        }

    def check(self) -> None:
        """Fail where no sparsity passed."""
        if self.sparsity is None:
            last = min(self.trials, key=lambda trial: trial.sparsity)
            raise GateError(
                self.model,
                expected="a sparsity at which no language loses more than it may",
                found=f"none; at {last.sparsity:g}: "
                + ", ".join(f"{tag} {percent(rise, '+')}" for tag, rise in last.failed.items()),
            )


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
        source = Path(model) if Path(model).exists() else None
        OutputFolder(path_given("out", out), overwrite=options.overwrite).check(source)
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
            compared = Comparison.of(dense, loss)
            trial = _trial(tried.sparsity, reached, compared, gate, start)
            trials.append(trial)
            log.info(
                "%g: %s, worst %s %s", trial.sparsity,
                "passed" if trial.passed else "failed", trial.worst, percent(trial.worst_rise, "+"),
            )  # fmt: skip
            passed, failed = (middle, failed) if trial.passed else (passed, middle)
        found = SearchResult(model, gate, step, highest, tuple(trials))
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
    if recipe.pattern_row().fixed is not None:
        raise InputError(
            "--pattern", expected="one that leaves the sparsity open", found=recipe.pattern
        )
    return recipe


def _trial(
    sparsity: float, reached: float, compared: Comparison, gate: Gate, start: float
) -> Trial:
    failed = gate.failed(compared)
    worst = compared.worst
    return Trial(
        sparsity=sparsity,
        reached=reached,
        passed=not failed,
        mean=sum(rise.relative for rise in compared.rises) / len(compared.rises),
        worst=worst.language,
        worst_rise=worst.relative,
        failed={rise.language: rise.relative for rise in failed},
        seconds=time.perf_counter() - start,
    )
