"""What a prune knows of text: windows to run, or statistics that an earlier run has saved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mwanda.errors import InputError
from mwanda.jobs.calibration import CalibrationInput, get_windows, open_calibration, weights_of
from mwanda.manifest import CalibrationRecord, StatisticsFileRecord
from mwanda.model.decoder import Decoder
from mwanda.model.identity import linears_sha256, rest_sha256
from mwanda.model.output import sha256_of
from mwanda.model.source import load_tokenizer
from mwanda.model.streamed import StreamedDecoder
from mwanda.model.structure import Structure
from mwanda.options import RunOptions
from mwanda.recipe import Recipe
from mwanda.registry import find_allocation
from mwanda.saved.statistics_file import SavedStatistics
from mwanda.text.sources import TextSource
from mwanda.text.windows import Windows
from mwanda.units import probe_of

__all__ = ["Evidence", "Opened", "check_names", "folder_tokenizer", "gather", "open_evidence"]

Opened = TextSource | Windows | SavedStatistics | None
"""Text, windows or statistics that were looked at and not yet used; None where none is needed."""


@dataclass(frozen=True)
class Evidence:
    """What masks are chosen by, beside the weights.

    Attributes:
        windows: to run; None where there is nothing to run.
        saved: statistics of an earlier run, of the languages and linears wanted.
        weights: language -> weight, summing to 1.
        calibration: the text in either case.
        statistics_file: where the statistics were read from, hashed before they are used.
    """

    windows: Windows | None = None
    saved: SavedStatistics | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    calibration: CalibrationRecord | None = None
    statistics_file: StatisticsFileRecord | None = None

    @classmethod
    def of_windows(cls, windows: Windows | None, recipe: Recipe) -> Evidence:
        """Windows under a recipe's language weights."""
        if windows is None:
            return cls()
        weights = weights_of(recipe, windows.languages)
        return cls(windows, None, weights, CalibrationRecord.of(windows, weights))

    @classmethod
    def of_saved(cls, saved: SavedStatistics, recipe: Recipe) -> Evidence:
        """Saved statistics under a recipe's language weights."""
        weights, known = weights_of(recipe, [*saved.languages]), saved.record.calibration
        languages = {tag: known.languages[tag] for tag in saved.languages}
        record = known.model_copy(update={"weights": weights, "languages": languages})
        file = StatisticsFileRecord(name=saved.path.name, sha256=sha256_of(saved.path))
        return cls(None, saved, weights, record, file)

    @property
    def tokens(self) -> dict[str, torch.Tensor]:
        """Language -> token ids to run, ``int64 [windows, length]``."""
        return {} if self.windows is None else self.windows.tokens


def open_evidence(
    calibration: CalibrationInput | None,
    statistics: str | Path | None,
    recipe: Recipe,
    options: RunOptions,
) -> Opened:
    """Look at text or statistics before any expensive work; None where the recipe needs neither.

    Raises:
        InputError: what :func:`mwanda.jobs.calibration.open_calibration` refuses; a file of
            statistics that cannot be read, or everything at once in which it does not fit.
    """
    if statistics is None:
        return open_calibration(calibration, recipe)
    saved = SavedStatistics.open(statistics)
    problems = [str(problem) for problem in _misfits(saved, calibration, recipe, options)]
    if problems:
        raise InputError.several(problems)
    if not recipe.needs_text:
        return None
    saved.check_values(grams="gram" in recipe.linear_needs)
    return saved.only(recipe.languages or saved.languages)


def gather(
    opened: Opened,
    tokenizer: Any,
    decoder: Decoder,
    chosen: Structure,
    recipe: Recipe,
    options: RunOptions,
) -> Evidence:
    """What was opened, for a model: windows cut, or statistics checked to be of it.

    Args:
        tokenizer: None where text is not to be cut.
        chosen: the linears to prune.

    Raises:
        InputError: see :func:`mwanda.jobs.calibration.get_windows`; statistics of another model,
            or without one of the linears.
    """
    if isinstance(opened, SavedStatistics):
        check_names(opened, decoder, chosen, recipe)
        _check_weights(opened, decoder)
        names = [linear.name for linear in chosen.linears()]
        return Evidence.of_saved(opened.only(opened.languages, names), recipe)
    if opened is None:
        return Evidence()
    windows = get_windows(
        opened,
        tokenizer,
        recipe,
        vocabulary=decoder.vocabulary,
        context=decoder.context_length,
        allow_short=options.allow_short,
    )
    return Evidence.of_windows(windows, recipe)


def folder_tokenizer(opened: Opened, folder: Path, options: RunOptions) -> Any:
    """The tokenizer of a model folder, which can be large, where text has to be cut; else None."""
    if opened is None or isinstance(opened, Windows | SavedStatistics):
        return None
    return load_tokenizer(folder, trust_remote_code=options.trust_remote_code)


def _misfits(
    saved: SavedStatistics,
    calibration: CalibrationInput | None,
    recipe: Recipe,
    options: RunOptions,
) -> list[InputError]:
    """Everything in which a request does not fit a file of statistics."""
    record, found = saved.record, []
    if calibration is not None:
        found.append(
            InputError(
                "--calibration",
                expected="none beside --statistics, which says what text was read",
                found=calibration.source if isinstance(calibration, Windows) else str(calibration),
            )
        )
    if recipe.mode != "dense":
        found.append(
            InputError(
                "--mode",
                expected="dense with --statistics: they are those of the unpruned model",
                found=recipe.mode,
                fix="leave --mode out, or give --calibration instead",
            )
        )
    if options.compute_dtype not in ("auto", record.compute_dtype):
        found.append(
            InputError(
                "--compute-dtype",
                expected=f"{record.compute_dtype}, in which the statistics were made",
                found=options.compute_dtype,
                fix="leave it out",
            )
        )
    if recipe.skip_first_tokens != record.skip_first_tokens:
        found.append(
            InputError(
                "--skip-first-tokens",
                expected=f"{record.skip_first_tokens}, with which the statistics were made",
                found=str(recipe.skip_first_tokens),
                fix="give the same, or make them again",
            )
        )
    if probe_of(recipe) is not None and recipe.allocation is not None:
        found.append(
            InputError(
                "--allocation",
                expected="one that looks at sums, with --statistics",
                found=f"{recipe.allocation.name}, which runs masked blocks on text",
                fix="choose another, or give --calibration instead",
            )
        )
    languages = recipe.languages or saved.languages
    for option, tags in (
        ("--languages", languages),
        ("--language-weights", tuple(recipe.language_weights)),
    ):
        strange = [tag for tag in tags if tag not in saved.languages]
        if strange:
            found.append(
                InputError(
                    option,
                    expected=f"languages of the statistics: {', '.join(saved.languages)}",
                    found=", ".join(strange),
                    fix="make statistics of them and merge, or drop them",
                )
            )
    needs = _needs(recipe)
    missing = [need for need in needs if need not in record.needs]
    if missing:
        found.append(
            InputError(
                f"statistics {saved.path}",
                expected=f"sums that this recipe needs: {', '.join(needs)}",
                found=f"none of {', '.join(missing)}",
                fix="make them again" + (" with --gram" if "gram" in missing else ""),
            )
        )
    elif "gram" in needs and not found:
        found += _gram_misfits(saved, recipe)
    return found


def _needs(recipe: Recipe) -> tuple[str, ...]:
    if not recipe.needs_text or recipe.allocation is None:
        return ()
    needs = (*recipe.linear_needs, *find_allocation(recipe.allocation.name).needs)
    return tuple(dict.fromkeys(needs))


def _gram_misfits(saved: SavedStatistics, recipe: Recipe) -> list[InputError]:
    """Gram matrices are sums over languages: neither these nor their weights can be changed."""
    known = saved.record.calibration.weights
    wanted = weights_of(recipe, [*(recipe.languages or saved.languages)])
    if wanted.keys() == known.keys() and all(
        math.isclose(wanted[tag], known[tag], rel_tol=1e-9) for tag in known
    ):
        return []
    shown = ",".join(f"{tag}={weight:.6g}" for tag, weight in known.items())
    return [
        InputError(
            "--languages and --language-weights",
            expected=f"those of the Gram matrices in {saved.path}: {shown}",
            found=",".join(f"{tag}={weight:.6g}" for tag, weight in wanted.items()),
            fix="give the same, make statistics under the new ones, or use no reconstruction",
        )
    ]


def check_names(
    saved: SavedStatistics, decoder: Decoder, chosen: Structure, recipe: Recipe
) -> None:
    """Refuse statistics of a model with other linears, or without one that is to be pruned.

    Raises:
        InputError: all of that at once.
    """
    thing, shapes = f"statistics {saved.path}", saved.record.shapes
    own = {linear.name: (linear.rows, linear.columns) for linear in decoder.structure.linears()}
    strange = [name for name, shape in shapes.items() if own.get(name) != shape]
    if strange or saved.record.model.blocks != len(decoder.structure.blocks):
        first = strange[0] if strange else f"{saved.record.model.blocks} blocks"
        here = own.get(first)
        raise InputError(
            thing,
            expected="those of this model"
            + (f", whose {first} is {[*here]}" if here is not None else ""),
            found=f"those of {saved.record.model.name}, with {first}"
            + (f" {[*shapes[first]]}" if strange else ""),
            fix="make statistics of this model",
        )
    absent = [linear.name for linear in chosen.linears() if linear.name not in shapes]
    if absent:
        raise InputError(
            thing,
            expected=f"statistics of {absent[0]}",
            found=f"none ({len(absent)} such linears)",
            fix="leave them out with --exclude, or make statistics without excluding them",
        )
    if "gram" in _needs(recipe):
        bare = [linear.name for linear in chosen.linears() if not saved.has_gram(linear.name)]
        if bare:
            raise InputError(
                thing,
                expected=f"a Gram matrix of what enters {bare[0]}",
                found=f"none ({len(bare)} such linears)",
                fix="leave them out with --exclude, or use no reconstruction",
            )


def _check_weights(saved: SavedStatistics, decoder: Decoder) -> None:
    model = saved.record.model
    where = None
    if linears_sha256(decoder) != model.linears_sha256:
        where = "in its linears"
    elif isinstance(decoder, StreamedDecoder) and rest_sha256(decoder) != model.rest_sha256:
        where = "outside its linears"
    if where is not None:
        raise InputError(
            f"statistics {saved.path}",
            expected=f"the model they were made of, {model.name}",
            found=f"one with other weights {where}",
            fix="make statistics of this model",
        )
