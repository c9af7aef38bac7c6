"""Calibration text for a run: drawn from a source, or windows used as they are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mwanda.errors import InputError
from mwanda.model.companions import companions_sha256
from mwanda.model.run.decoder import Decoder
from mwanda.model.run.streamed import StreamedDecoder
from mwanda.pruning.recipe.resolved import ResolvedRecipe
from mwanda.system.progress import speaks
from mwanda.system.run_options import RunOptions
from mwanda.text.background import chosen, open_background, with_background
from mwanda.text.given import GivenText, open_text
from mwanda.text.languages import MULTIPLE
from mwanda.text.sources import open_source
from mwanda.text.text_source import TextSource, check_languages
from mwanda.text.tokens import vocabulary_sha256
from mwanda.text.window_files import Windows, load
from mwanda.text.window_sizes import NO_BACKGROUND, UDHR
from mwanda.text.windows import draw

log = logging.getLogger("mwanda")

BACKGROUND_SIZES = ("background_weight", "background_windows")
"""Fields of a recipe that only say how much of a background is taken."""

CalibrationInput = str | Path | Mapping[str, Any] | TextSource | Windows
"""A source as :func:`mwanda.text.given.open_text` takes it, a windows file, or windows."""


FIRST_TRY = "bundled:udhr/first"
"""What calibrates where languages are named and no text is."""

GIVE_TEXT = f"give a folder of <tag>.txt files, a windows file, or {FIRST_TRY}"


def is_window_file(calibration: CalibrationInput) -> bool:
    """Whether this names a file of token windows rather than text."""
    return isinstance(calibration, str | Path) and str(calibration).endswith(".safetensors")


def name_of(calibration: CalibrationInput) -> str:
    """What to call it in a message."""
    if isinstance(calibration, Windows):
        return calibration.source
    return str(calibration) if isinstance(calibration, str | Path) else GivenText.name


def text_or_first_try(
    calibration: CalibrationInput | None, recipe: ResolvedRecipe, options: RunOptions
) -> tuple[CalibrationInput | None, RunOptions]:
    """Where no text is given but languages are, all there is of the bundled text in these."""
    if calibration is not None or recipe.languages is None or not recipe.needs_text:
        return calibration, options
    there = open_source(FIRST_TRY).languages()
    missing = ", ".join(tag for tag in recipe.languages if tag not in there)
    if missing:
        found = f"none, and the bundled text has only {', '.join(there)}"
        raise InputError(
            "--calibration", expected=f"text in {missing}", found=found,
            fix="give a folder with a <tag>.txt for each language, or leave them out",
        )  # fmt: skip
    if speaks():
        slow = recipe.probe is not None or recipe.reconstruction is not None
        log.warning(
            "no --calibration: %s is taken, little text and good for a first try only%s",
            FIRST_TRY, "; --recipe quick makes it a fast one" if slow else "",
        )  # fmt: skip
    return FIRST_TRY, replace(options, allow_short=True)


def open_calibration(
    calibration: CalibrationInput | None, recipe: ResolvedRecipe
) -> TextSource | Windows | None:
    """Look at the calibration before any expensive work; None where the recipe needs no text."""
    if not recipe.needs_text:
        return None
    if calibration is None:
        kind = "criterion" if recipe.linear_needs else "allocation"
        expected = f"text for {kind} {getattr(recipe, kind).name}"
        if not recipe.linear_needs and not recipe.allocation_row().needs_text:
            expected = "text to recover on"
        raise InputError("--calibration", expected=expected, found="none", fix=GIVE_TEXT)
    if isinstance(calibration, Windows):
        opened: TextSource | Windows = calibration
    elif isinstance(calibration, str | Path) and is_window_file(calibration):
        chosen = None if recipe.languages is None else list(recipe.languages)
        opened = load(Path(calibration), chosen)
    else:
        opened = open_text(calibration)
    languages = calibration_languages(opened, recipe)
    stray = ", ".join(sorted(set(recipe.language_weights) - set(languages)))
    if stray:
        expected = f"languages of the calibration: {', '.join(languages)}"
        raise InputError("--language-weights", expected=expected, found=stray)
    if isinstance(opened, Windows):
        _check_skipped(opened, languages, recipe)
    if draws_background(opened, recipe):
        open_background(recipe.background).languages()
    elif (stray := asked_of_no_background(recipe)) and not (
        isinstance(opened, Windows) and opened.background
    ):
        fix = f"give --background {UDHR}, a folder, or {NO_BACKGROUND}"
        raise InputError(stray, expected="a background", found="none", fix=fix)
    return opened


def asked_of_no_background(recipe: ResolvedRecipe) -> str:
    """Options that say how much of a background is taken, of a recipe that neither asks for one nor
    is told to do without."""
    asked = [name for name in BACKGROUND_SIZES if name in recipe.model_fields_set]
    options = " and ".join(f"--{name.replace('_', '-')}" for name in asked)
    return "" if recipe.refuses_background else options


def draws_background(opened: TextSource | Windows, recipe: ResolvedRecipe) -> bool:
    """Whether background text has to be cut. Windows are used as they are: with their own
    background, and with another one only where that is asked for and they have none."""
    asked = "background" in recipe.model_fields_set
    if recipe.background == NO_BACKGROUND or not isinstance(opened, Windows):
        return recipe.background != NO_BACKGROUND
    if asked and opened.background_source not in (None, recipe.background):
        raise InputError(
            "--background", expected=f"that of {opened.source}, {opened.background_source}",
            found=recipe.background, fix="leave it out, or --background none",
        )  # fmt: skip
    return asked and opened.background_source is None


def _check_vocabulary(windows: Windows, tokenizer: Callable[[], Any], decoder: Decoder) -> None:
    """Refuse windows of another tokenizer, whose ids may all be there and mean other tokens, as
    after a trim; where the model has none nothing is known. The one that drew them is not loaded:
    it can be large."""
    known = windows.companions
    if windows.vocabulary is None:
        return
    try:
        if (
            known is not None
            and isinstance(decoder, StreamedDecoder)
            and known == companions_sha256(decoder.checkpoint.folder)
        ):
            return
        own = vocabulary_sha256(tokenizer())
    except InputError:
        return
    if own not in (None, windows.vocabulary):
        raise InputError(
            windows.source, expected="windows drawn with this model's tokenizer",
            found="ids of another vocabulary", fix="draw them again with mwanda windows",
        )  # fmt: skip


def _say_as_they_are(windows: Windows, languages: list[str], recipe: ResolvedRecipe) -> None:
    """Say so where a recipe asks for other sizes than those of windows that are given."""
    for name, place in (("windows", 0), ("window_length", 1)):
        there = sorted({windows.tokens[tag].shape[place] for tag in languages})
        asked = getattr(recipe, name)
        if name in recipe.model_fields_set and there != [asked]:
            found = " to ".join(str(one) for one in dict.fromkeys((there[0], there[-1])))
            option = f"--{name.replace('_', '-')}"
            log.info(
                "%s: windows are used as they are, %s of %s; %d plays no part",
                windows.source, option, found, asked,
            )  # fmt: skip


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
    if not isinstance(opened, Windows):
        languages = opened.languages() if recipe.languages is None else list(recipe.languages)
        check_languages(opened, languages)
        return languages
    there = opened.languages
    wanted = there if recipe.languages is None else list(recipe.languages)
    missing = ", ".join(tag for tag in wanted if tag not in there)
    if missing:
        expected = f"languages of the calibration: {', '.join(there)}"
        fix = "add their text or drop them"
        raise InputError("--languages", expected=expected, found=missing, fix=fix)
    return wanted


def left_open(recipe: ResolvedRecipe) -> tuple[str, ...]:
    """What a recipe does not give of the windows: sizes, which may shrink, and the background, as
    a file of windows may have one, with its sizes."""
    fields = ("windows", "window_length", "background", *BACKGROUND_SIZES)
    return tuple(name for name in fields if name not in recipe.model_fields_set)


def sizes_of(recipe: ResolvedRecipe) -> dict[str, int | None]:
    """Arguments of :func:`mwanda.text.windows.draw`: sizes that a recipe does not give are None."""
    loose = left_open(recipe)
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
            part=False,
        )
    else:
        _check_vocabulary(windows, tokenizer, decoder)
        _say_as_they_are(windows, languages, recipe)
    windows = chosen(windows, languages, background=not recipe.refuses_background)
    if draws_background(opened, recipe):
        windows = with_background(
            windows, open_background(recipe.background), tokenizer(), seed=recipe.seed,
            windows=recipe.background_windows, context=context,
        )  # fmt: skip
    _check_skipped(windows, [*windows.tokens], recipe)
    for tag in windows.tokens:
        ids, what = windows.tokens[tag], f"{windows.source}, {tag}"
        least, most, length = int(ids.min()), int(ids.max()), ids.shape[1]
        if most >= decoder.vocabulary or least < 0:
            expected = f"token ids from 0 to below the model's vocabulary of {decoder.vocabulary}"
            fix = "use the tokenizer that belongs to the model"
            raise InputError(what, expected=expected, found=f"{least} to {most}", fix=fix)
        if context is not None and length > context:
            expected = f"windows of at most the model's context of {context} tokens"
            fix = f"draw them with this model, or with --window-length {context}"
            raise InputError(what, expected=expected, found=str(length), fix=fix)
    if windows.background:
        log.info(
            "background: %d windows of %s in %d languages that were not named, together %.0f %% of "
            "the weight; --background none leaves them out",
            len(windows.tokens[MULTIPLE]), windows.background_source, len(windows.background),
            100 * recipe.background_weight,
        )  # fmt: skip
    return windows


def weights_of(recipe: ResolvedRecipe, languages: Sequence[str]) -> dict[str, float]:
    """Language weights summing to 1; languages not named weigh 1 before that, and the background,
    where it is among them, has its share of all."""
    given = {tag: recipe.language_weights.get(tag, 1.0) for tag in languages if tag != MULTIPLE}
    total, share = sum(given.values()), recipe.background_weight if MULTIPLE in languages else 0.0
    if total <= 0:
        raise InputError("--language-weights", expected="a weight above 0", found="all 0")
    return {tag: (1 - share) * given[tag] / total if tag in given else share for tag in languages}
