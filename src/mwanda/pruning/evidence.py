"""What a prune knows of text: windows to run, or statistics that an earlier run has saved."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mwanda.errors import InputError
from mwanda.model.run.decoder import Decoder
from mwanda.model.run.structure import Structure
from mwanda.pruning.calibration_text import (
    CalibrationInput,
    draws_background,
    get_windows,
    open_calibration,
    weights_of,
)
from mwanda.pruning.folder.manifest_records import CalibrationRecord, StatisticsFileRecord
from mwanda.pruning.recipe.resolved import ResolvedRecipe
from mwanda.pruning.statistics.file import SavedStatistics
from mwanda.pruning.statistics.fit import check_names, check_request, check_weights, languages_of
from mwanda.system.files import sha256_of
from mwanda.system.run_options import RunOptions
from mwanda.text.text_source import TextSource
from mwanda.text.window_files import Windows

log = logging.getLogger("mwanda")

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
        draws_background: whether the text's background was drawn for this run, by its seed.
    """

    windows: Windows | None = None
    saved: SavedStatistics | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    calibration: CalibrationRecord | None = None
    statistics_file: StatisticsFileRecord | None = None
    draws_background: bool = False

    @property
    def tokens(self) -> dict[str, torch.Tensor]:
        """Language -> token ids to run, ``int64 [windows, length]``."""
        return {} if self.windows is None else self.windows.tokens


def open_evidence(
    calibration: CalibrationInput | None,
    statistics: str | Path | None,
    recipe: ResolvedRecipe,
    options: RunOptions,
) -> Opened:
    """Look at text or statistics before any expensive work; None where the recipe needs neither."""
    refuse_statistics(recipe, statistics)
    given = calibration if statistics is None else statistics
    if given is not None and recipe.sparsity and not recipe.needs_text:
        log.info("text is not looked at: %s needs none", recipe.criterion.name)
    if statistics is None:
        return open_calibration(calibration, recipe)
    saved = SavedStatistics.open(statistics)
    check_request(saved, calibration, recipe, options)
    if not recipe.needs_text:
        return None
    saved.check_values(grams="gram" in recipe.linear_needs)
    return saved.only(languages_of(saved, recipe))


def refuse_statistics(recipe: ResolvedRecipe, statistics: str | Path | None) -> None:
    """Refuse saved statistics for a recipe that recovers: they hold no text to learn from."""
    if statistics is not None and recipe.recover is not None:
        raise InputError(
            "--recover", expected="--calibration, text to learn from", found="--statistics",
            fix="--no-recover, and run mwanda recover afterwards",
        )  # fmt: skip


def gather(
    opened: Opened,
    tokenizer: Callable[[], Any],
    decoder: Decoder,
    chosen: Structure,
    recipe: ResolvedRecipe,
    options: RunOptions,
) -> Evidence:
    """What was opened, for a model: windows cut, or statistics checked to be of it. The tokenizer
    can be large: it is asked for where text has to be cut."""
    if opened is None:
        return Evidence()
    if isinstance(opened, SavedStatistics):
        check_names(opened, decoder, chosen, recipe)
        check_weights(opened, decoder)
        saved = opened.only(opened.languages, [linear.name for linear in chosen.linears()])
        weights, known = weights_of(recipe, [*saved.languages]), saved.record.calibration
        languages = {tag: known.languages[tag] for tag in saved.languages}
        record = known.of_languages(languages, weights)
        file = StatisticsFileRecord(name=saved.path.name, sha256=sha256_of(saved.path))
        return Evidence(None, saved, weights, record, file)
    windows = get_windows(opened, tokenizer, decoder, recipe, options)
    weights = weights_of(recipe, [*windows.tokens])
    return Evidence(
        windows, None, weights, CalibrationRecord.of(windows, weights),
        draws_background=draws_background(opened, recipe),
    )  # fmt: skip
