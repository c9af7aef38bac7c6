"""Evaluate a model on parallel or other text, language by language."""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mwanda.device import dtype_name
from mwanda.errors import DataError, InputError
from mwanda.evaluation.generation import Continuation, continue_texts
from mwanda.evaluation.likelihood import score_texts
from mwanda.evaluation.results import Evaluation, LanguageResult
from mwanda.evaluation.texts import TextSet, load_texts
from mwanda.jobs.loading import open_decoder
from mwanda.manifest import MANIFEST, CalibrationRecord, read_manifest
from mwanda.memory import available_memory
from mwanda.model.decoder import Decoder, MemoryDecoder, evaluation_mode
from mwanda.model.reader import Checkpoint
from mwanda.model.source import load_tokenizer, open_model
from mwanda.options import RunOptions
from mwanda.text.languages import canonical
from mwanda.text.overlap import overlap, unpack_hashes
from mwanda.text.sources import check_languages, open_source
from mwanda.text.windows import bos_rule

__all__ = ["evaluate", "read_texts"]

log = logging.getLogger("mwanda")


def read_texts(
    text: str | Path,
    languages: Sequence[str] | None = None,
    *,
    sentences: int | None = None,
    seed: int = 0,
    ids: tuple[int, int | None] | None = None,
) -> TextSet:
    """Read the texts to score, once for every model that is compared on them.

    Args:
        text: a source as :func:`mwanda.text.sources.open_source` reads it.
        languages: tags in any style; None takes all there are.
        sentences: size of a seeded subset a language, None for all.
        ids: lowest and highest record id taken.

    Raises:
        InputError: unreadable text, or a language that is not there.
    """
    source = open_source(text)
    chosen = source.languages() if languages is None else [canonical(tag) for tag in languages]
    check_languages(source, chosen)
    return load_texts(source, chosen, sentences=sentences, seed=seed, ids=ids)


def evaluate(
    model: Any,
    text: str | Path | TextSet,
    *,
    languages: Sequence[str] | None = None,
    sentences: int | None = None,
    seed: int = 0,
    tokenizer: Any = None,
    calibration: CalibrationRecord | None = None,
    continuations: bool = False,
    max_length: int | None = None,
    options: RunOptions | None = None,
) -> Evaluation:
    """Negative log-likelihood of every language's texts under a model.

    Args:
        model: a folder, GGUF file or hub id; or a transformers model in memory with ``tokenizer``.
        text: a source, or texts read before.
        languages, sentences, seed: see :func:`read_texts`; unused when ``text`` is a TextSet.
        calibration: of a model pruned in memory, ``result.manifest.calibration``; a folder's is
            read from its manifest.
        continuations: also generate one continuation a language, which needs the model whole in
            memory.
        max_length: tokens of one forward; longer texts go in strides.

    Raises:
        InputError: bad input, or text that was drawn for calibration.
    """
    options = options or RunOptions()
    if isinstance(text, TextSet):
        texts = text
    else:
        texts = read_texts(text, languages, sentences=sentences, seed=seed)
    with tempfile.TemporaryDirectory(prefix="mwanda-") as scratch:
        if not isinstance(model, str | Path):
            if tokenizer is None:
                raise InputError("tokenizer", expected="the model's tokenizer", found="none")
            _refuse_overlap(texts, calibration, options)
            decoder = MemoryDecoder(model)
            with evaluation_mode(model):
                return _run(
                    decoder, tokenizer, texts, calibration, Path(scratch), options, max_length,
                    name=str(getattr(model.config, "_name_or_path", "") or type(model).__name__),
                    generator=model if continuations else None,
                )  # fmt: skip
        with open_model(str(model), Path(scratch)) as source:
            if calibration is None and (source.folder / MANIFEST).is_file():
                calibration = read_manifest(source.folder).calibration
            _refuse_overlap(texts, calibration, options)
            tokenizer = load_tokenizer(source.folder, trust_remote_code=options.trust_remote_code)
            with open_decoder(source, options, measuring=True) as streamed:
                result = _run(
                    streamed, tokenizer, texts, calibration, Path(scratch), options, max_length,
                    name=str(model), generator=None,
                )  # fmt: skip
                dtype, device = streamed.dtype, streamed.device
            if continuations and _fits(source.folder, dtype):
                whole = _load_whole(source.folder, dtype, device, options)
                made = continue_texts(whole, tokenizer, texts.texts, bos=bos_rule(tokenizer))
                result.continuations.update(made)
        return result


def _run(
    decoder: Decoder,
    tokenizer: Any,
    texts: TextSet,
    calibration: CalibrationRecord | None,
    scratch: Path,
    options: RunOptions,
    max_length: int | None,
    *,
    name: str,
    generator: Any,
) -> Evaluation:
    bos = bos_rule(tokenizer)
    flat = [(tag, text) for tag, group in texts.texts.items() for text in group]
    scores = score_texts(
        decoder,
        tokenizer,
        [text for _, text in flat],
        bos=bos,
        scratch=scratch,
        options=options,
        max_length=max_length,
    )
    languages = {}
    for tag in texts.texts:
        own = [score for (owner, _), score in zip(flat, scores, strict=True) if owner == tag]
        languages[tag] = LanguageResult(
            tag,
            tuple(score.nll for score in own),
            sum(score.tokens for score in own),
            sum(score.size for score in own),
        )
    found: dict[str, Continuation] = {}
    if generator is not None:
        found = continue_texts(generator, tokenizer, texts.texts, bos=bos)
    broken = [tag for tag, result in languages.items() if not math.isfinite(result.nll)]
    if broken:
        raise DataError(
            f"{name}, language {broken[0]}",
            expected="a finite negative log-likelihood",
            found=f"NaN or infinity ({len(broken)} such languages)",
            fix="check the weights with mwanda verify, or compute in float32",
        )
    seen = () if calibration is None else calibration.seen
    return Evaluation(
        name,
        languages,
        tuple(tag for tag in languages if tag in seen),
        texts.source,
        texts.sha256,
        {
            "bos": "none" if bos is None else f"before every text: id {bos}",
            "compute_dtype": dtype_name(decoder.dtype),
            "seed": texts.seed,
        },
        dict(found),
    )


def _refuse_overlap(
    texts: TextSet, calibration: CalibrationRecord | None, options: RunOptions
) -> None:
    if calibration is None or options.allow_overlap:
        return
    drawn = [unpack_hashes(draw.sentences) for draw in calibration.languages.values()]
    if not all(drawn):
        log.warning("what calibrated the model is not known: overlap cannot be checked")
    known = frozenset().union(*drawn)
    problems = []
    for tag, group in texts.texts.items():
        shared = overlap(group, known)
        if shared:
            problems.append(
                f"{texts.source}, {tag}: expected text that did not calibrate the model, found "
                f"{len(shared)} of {len(group)} texts that share sentences with it, first number "
                f"{shared[0] + 1}; evaluate on other text, or pass --allow-overlap"
            )
    if problems:
        raise InputError.several(problems)


def _fits(folder: Path, dtype: torch.dtype) -> bool:
    """Whether the model can be loaded whole for generation; says so when it cannot."""
    with Checkpoint.open(folder) as checkpoint:
        infos = checkpoint.tensors.values()
        needed = sum(info.nbytes // info.dtype.itemsize for info in infos) * dtype.itemsize
    free = available_memory()
    if free is None or needed * 1.2 < free:
        return True
    log.warning(
        "no continuations: the whole model takes %.1f GB, %.1f GB are free",
        needed / 1e9,
        free / 1e9,
    )
    return False


def _load_whole(folder: Path, dtype: torch.dtype, device: torch.device, options: RunOptions) -> Any:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        trust_remote_code=options.trust_remote_code,
        local_files_only=True,
    )
    return model.to(device).eval()
