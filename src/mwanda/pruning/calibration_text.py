"""Calibration text for a run: drawn from a source, or windows used as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mwanda.errors import InputError
from mwanda.model.run.decoder import Decoder
from mwanda.pruning.recipe.resolved import ResolvedRecipe
from mwanda.system.run_options import RunOptions
from mwanda.text.given import GivenText, open_text
from mwanda.text.text_source import TextSource, available
from mwanda.text.window_files import Windows, load
from mwanda.text.windows import draw

CalibrationInput = str | Path | Mapping[str, Any] | TextSource | Windows
"""A source as :func:`mwanda.text.given.open_text` takes it, a windows file, or windows."""


def is_window_file(calibration: CalibrationInput) -> bool:
    """Whether this names a file of token windows rather than text."""
    return isinstance(calibration, str | Path) and str(calibration).endswith(".safetensors")


def name_of(calibration: CalibrationInput) -> str:
    """What to call it in a message."""
    if isinstance(calibration, Windows):
        return calibration.source
    return str(calibration) if isinstance(calibration, str | Path) else GivenText.name


def open_calibration(
    calibration: CalibrationInput | None, recipe: ResolvedRecipe
) -> TextSource | Windows | None:
    """Look at the calibration before any expensive work; None where the recipe needs no text."""
    if not recipe.needs_text:
        return None
    if calibration is None:
        wants = f"criterion {recipe.criterion.name}"
        if not recipe.linear_needs:
            wants = f"allocation {recipe.allocation.name}"
        raise InputError(
            "--calibration",
            expected=f"text for {wants}",
            found="none",
            fix="give a folder of <tag>.txt files, a windows file, or bundled:udhr/first",
        )
    if isinstance(calibration, Windows):
        opened: TextSource | Windows = calibration
    elif isinstance(calibration, str | Path) and is_window_file(calibration):
        chosen = None if recipe.languages is None else list(recipe.languages)
        opened = load(Path(calibration), chosen)
    else:
        opened = open_text(calibration)
    languages = calibration_languages(opened, recipe)
    stray = sorted(set(recipe.language_weights) - set(languages))
    if stray:
        raise InputError(
            "--language-weights",
            expected=f"languages of the calibration: {', '.join(languages)}",
            found=", ".join(stray),
        )
    if isinstance(opened, Windows):
        _check_skipped(opened, languages, recipe)
    return opened


def _check_skipped(windows: Windows, languages: list[str], recipe: ResolvedRecipe) -> None:
    """Refuse to skip all there is of a language; a short one shows when its windows are cut."""
    lengths = {tag: int(windows.tokens[tag].shape[1]) for tag in languages}
    short = min(lengths, key=lambda tag: lengths[tag])
    if recipe.skip_first_tokens >= lengths[short]:
        raise InputError(
            "--skip-first-tokens",
            expected=f"fewer than the {lengths[short]} tokens of {windows.source}'s shortest "
            f"windows, language {short}",
            found=str(recipe.skip_first_tokens),
            fix="skip fewer, or leave the language out",
        )


def calibration_languages(opened: TextSource | Windows, recipe: ResolvedRecipe) -> list[str]:
    """The recipe's languages, or all there are."""
    there = opened.languages if isinstance(opened, Windows) else available(opened)
    if recipe.languages is not None:
        wanted = list(recipe.languages)
    else:
        wanted = there if isinstance(opened, Windows) else opened.languages()
    missing = [tag for tag in wanted if tag not in there]
    if missing:
        raise InputError(
            "--languages",
            expected=f"languages of the calibration: {', '.join(there)}",
            found=", ".join(missing),
            fix="add their text or drop them",
        )
    return wanted


def loose_sizes(recipe: ResolvedRecipe) -> tuple[str, ...]:
    """Sizes of the windows that a recipe does not give, so that they may shrink."""
    return tuple(x for x in ("windows", "window_length") if x not in recipe.model_fields_set)


def sizes_of(recipe: ResolvedRecipe) -> dict[str, int | None]:
    """Arguments of :func:`mwanda.text.windows.draw`: sizes that a recipe does not give are None."""
    loose = loose_sizes(recipe)
    return {
        "windows": None if "windows" in loose else recipe.windows,
        "length": None if "window_length" in loose else recipe.window_length,
    }


def get_windows(
    opened: TextSource | Windows,
    tokenizer: Callable[[], Any],
    decoder: Decoder,
    recipe: ResolvedRecipe,
    options: RunOptions,
) -> Windows:
    """The windows themselves, drawn where they are not given."""
    languages, context = calibration_languages(opened, recipe), decoder.context_length
    windows = opened
    if not isinstance(windows, Windows):
        windows = draw(
            windows,
            tokenizer(),
            languages,
            **sizes_of(recipe),
            seed=recipe.seed,
            allow_short=options.allow_short,
            context=context,
            keep_english=recipe.keep_english,
            keep_repeated=recipe.keep_repeated,
        )
    _check_skipped(windows, languages, recipe)
    for tag in languages:
        ids = windows.tokens[tag]
        if int(ids.max()) >= decoder.vocabulary or int(ids.min()) < 0:
            raise InputError(
                f"{windows.source}, {tag}",
                expected="token ids from 0 to below the model's vocabulary of "
                f"{decoder.vocabulary}",
                found=f"{int(ids.min())} to {int(ids.max())}",
                fix="use the tokenizer that belongs to the model",
            )
        if context is not None and ids.shape[1] > context:
            raise InputError(
                f"{windows.source}, {tag}",
                expected=f"windows of at most the model's context of {context} tokens",
                found=str(ids.shape[1]),
                fix=f"draw them with this model, or with --window-length {context}",
            )
    return replace(
        windows,
        tokens={tag: windows.tokens[tag] for tag in languages},
        draws={tag: windows.draws[tag] for tag in languages},
    )


def weights_of(recipe: ResolvedRecipe, languages: list[str]) -> dict[str, float]:
    """Language weights summing to 1; languages not named weigh 1 before that."""
    given = {tag: recipe.language_weights.get(tag, 1.0) for tag in languages}
    total = sum(given.values())
    if total <= 0:
        raise InputError("--language-weights", expected="a weight above 0", found="all 0")
    return {tag: weight / total for tag, weight in given.items()}
