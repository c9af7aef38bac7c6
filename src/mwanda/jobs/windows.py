"""Draw calibration windows and keep them in a file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from mwanda.errors import InputError
from mwanda.model.context import context_of
from mwanda.model.gguf import load_gguf_config, read_gguf_header
from mwanda.model.given import is_gguf
from mwanda.model.output_file import OutputFile
from mwanda.model.skeleton import build_skeleton, load_config
from mwanda.model.source import load_tokenizer, open_model
from mwanda.text.languages import canonical
from mwanda.text.sources import check_languages, open_source
from mwanda.text.windows import Windows, draw, load, save

__all__ = ["draw_windows"]

log = logging.getLogger("mwanda")


def draw_windows(
    model: str,
    out: Path,
    calibration: str | None,
    *,
    languages: Sequence[str] | None,
    windows: int | None = None,
    length: int | None = None,
    seed: int = 0,
    allow_short: bool = False,
    trust_remote_code: bool = False,
    overwrite: bool = False,
) -> Windows:
    """Draw windows with a model's tokenizer and write them to ``out``.

    Args:
        model: a folder, GGUF file or hub id; only its tokenizer and its context are used.
        languages: tags in any style; None takes all there are.
        windows, length: None takes the default, or less where context or text are short.

    Raises:
        InputError: bad text, too little of it, or ``out`` exists.
    """
    if calibration is None:
        raise InputError("--calibration", expected="a text source", found="none")
    if seed < 0:
        raise InputError("--seed", expected="a whole number from 0", found=str(seed))
    OutputFile(
        out, suffix=".safetensors", what="a windows file", is_ours=_is_windows, overwrite=overwrite
    ).check()
    source = open_source(calibration)
    chosen = source.languages() if languages is None else [canonical(tag) for tag in languages]
    check_languages(source, chosen)
    path = Path(model)
    with ExitStack() as opened:
        if is_gguf(path):
            tokenizer = load_tokenizer(path.parent, gguf_file=path.name)
        else:
            folder = opened.enter_context(open_model(model)).folder
            tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
        context = _context(path if is_gguf(path) else folder, trust_remote_code=trust_remote_code)
    drawn = draw(source, tokenizer, chosen, windows=windows, length=length, seed=seed,
                 allow_short=allow_short, context=context)  # fmt: skip
    save(drawn, out, overwrite=overwrite)
    return drawn


def _context(model: Path, *, trust_remote_code: bool) -> int | None:
    """Tokens that the model of a folder or GGUF file takes at once, as far as can be known."""
    if not is_gguf(model) and not (model / "config.json").is_file():
        return None  # a tokenizer alone
    try:
        config = (
            load_config(model, trust_remote_code=trust_remote_code)
            if model.is_dir()
            else (load_gguf_config(read_gguf_header(model)))
        )
        skeleton = build_skeleton(
            config, torch.float32, trust_remote_code=trust_remote_code, hollow=True
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
