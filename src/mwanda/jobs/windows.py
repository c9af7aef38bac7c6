"""Draw calibration windows and keep them in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mwanda.errors import InputError
from mwanda.model.given import is_gguf
from mwanda.model.output_file import OutputFile
from mwanda.model.source import load_tokenizer, open_model
from mwanda.text.languages import canonical
from mwanda.text.sources import check_languages, open_source
from mwanda.text.windows import Windows, draw, load, save

__all__ = ["draw_windows"]


def draw_windows(
    model: str,
    out: Path,
    calibration: str | None,
    *,
    languages: Sequence[str] | None,
    windows: int,
    length: int,
    seed: int,
    allow_short: bool = False,
    trust_remote_code: bool = False,
    overwrite: bool = False,
) -> Windows:
    """Draw windows with a model's tokenizer and write them to ``out``.

    Args:
        model: a folder, GGUF file or hub id; only its tokenizer is used.
        languages: tags in any style; None takes all there are.

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
    if is_gguf(path):
        tokenizer = load_tokenizer(path.parent, gguf_file=path.name)
        drawn = draw(source, tokenizer, chosen, windows=windows, length=length, seed=seed,
                     allow_short=allow_short)  # fmt: skip
    else:
        with open_model(model, trust_remote_code=trust_remote_code, weights=False) as opened:
            tokenizer = load_tokenizer(opened.folder, trust_remote_code=trust_remote_code)
            drawn = draw(source, tokenizer, chosen, windows=windows, length=length, seed=seed,
                         allow_short=allow_short)  # fmt: skip
    save(drawn, out, overwrite=overwrite)
    return drawn


def _is_windows(path: Path) -> bool:
    try:
        load(path)
    except InputError:
        return False
    return True
