"""Draw calibration windows and keep them in a file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mwanda.errors import InputError
from mwanda.model.companions import companions_sha256
from mwanda.model.gguf.file import read_gguf
from mwanda.model.given import is_gguf
from mwanda.model.run.context import context_of
from mwanda.model.run.skeleton import build_skeleton, load_config
from mwanda.model.source import load_tokenizer, open_model
from mwanda.system.output import OutputFile
from mwanda.text.background import check_background_windows, open_background, with_background
from mwanda.text.languages import tags_of
from mwanda.text.sources import open_source
from mwanda.text.text_source import check_languages
from mwanda.text.window_files import Windows, load, save
from mwanda.text.window_sizes import BACKGROUND_WINDOWS, NO_BACKGROUND
from mwanda.text.windows import draw

log = logging.getLogger("mwanda")


def draw_windows(
    model: str,
    out: Path,
    calibration: str | None,
    *,
    languages: Sequence[str] | None,
    windows: int | None = None,
    length: int | None = None,
    background: str = NO_BACKGROUND,
    background_windows: int = BACKGROUND_WINDOWS,
    seed: int = 0,
    allow_short: bool = False,
    keep_english: bool = False,
    keep_repeated: bool = False,
    trust_remote_code: bool = False,
    overwrite: bool = False,
) -> Windows:
    """Draw windows with a model's tokenizer and write them to ``out``.

    Args:
        model: a folder, GGUF file or hub id; only its tokenizer and its context are used.
        languages: tags in any style; None takes all there are.
        background: text in languages not named, see :func:`with_background`; or ``none``.
        windows, length: None takes the default, or less where context or text are short.
        keep_english, keep_repeated: see :func:`mwanda.text.windows.draw`.
    """
    if calibration is None:
        raise InputError("--calibration", expected="a text source", found="none")
    if seed < 0:
        raise InputError("--seed", expected="a whole number from 0", found=str(seed))
    OutputFile(
        out, suffix=".safetensors", what="a windows file", is_ours=_is_windows, overwrite=overwrite
    ).check()
    source = open_source(calibration)
    chosen = source.languages() if languages is None else tags_of(languages)
    check_languages(source, chosen)
    others = None
    if background != NO_BACKGROUND:
        check_background_windows(background_windows)
        others = open_background(background)
        others.languages()
    tokenizer, context, companions = tokenizer_and_context(
        model, trust_remote_code=trust_remote_code
    )
    drawn = draw(
        source, tokenizer, chosen, windows=windows, length=length, seed=seed, context=context,
        allow_short=allow_short, keep_english=keep_english, keep_repeated=keep_repeated,
    )  # fmt: skip
    if others is not None:
        drawn = with_background(
            drawn, others, tokenizer, windows=background_windows, seed=seed, context=context
        )
    drawn = replace(drawn, companions=companions)
    save(drawn, out, overwrite=overwrite)
    return drawn


def tokenizer_and_context(
    model: str, *, trust_remote_code: bool = False
) -> tuple[Any, int | None, str | None]:
    """A model's tokenizer, its context, as far as can be known, and the hash of the files that the
    two come from, where it is a folder; its weights are left alone."""
    path, trusted = Path(model), dict[str, Any](trust_remote_code=trust_remote_code)
    if is_gguf(path):
        gguf = read_gguf(path)
        return gguf.tokenizer(), _context(lambda: gguf.config), None
    with open_model(model, **trusted, weights=False) as opened:
        tokenizer, context = load_tokenizer(opened.folder, **trusted), None
        companions = companions_sha256(opened.folder)
        if (opened.folder / "config.json").is_file():
            context = _context(partial(load_config, opened.folder, **trusted), **trusted)
    return tokenizer, context, companions


def _context(config: Callable[[], Any], *, trust_remote_code: bool = False) -> int | None:
    """Tokens that a model of this config takes at once, as far as can be known."""
    try:
        skeleton = build_skeleton(
            config(), torch.float32, trust_remote_code=trust_remote_code, hollow=True
        )
    except InputError as error:
        log.warning("the model's context is not known: %s", error)
        return None
    return context_of(skeleton)


def _is_windows(path: Path) -> bool:
    try:
        load(path)
    except InputError:
        return False
    return True
