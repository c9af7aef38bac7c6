"""Evaluate a model on parallel or other text, language by language."""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mwanda.device import DTYPES, choose_device, dtype_name
from mwanda.errors import DataError, InputError
from mwanda.evaluation.cache import KeptScores, Scores
from mwanda.evaluation.continued import continue_and_check
from mwanda.evaluation.generation import continue_texts
from mwanda.evaluation.likelihood import score_texts
from mwanda.evaluation.results import Evaluation, LanguageResult
from mwanda.evaluation.texts import TextSet, load_texts
from mwanda.extras import need
from mwanda.jobs.loading import open_decoder
from mwanda.jobs.whole import fits_whole, load_whole
from mwanda.manifest import MANIFEST, CalibrationRecord, read_manifest
from mwanda.model.decoder import Decoder, MemoryDecoder, evaluation_mode
from mwanda.model.experts import runnable_experts
from mwanda.model.given import check_model
from mwanda.model.source import load_tokenizer, open_model
from mwanda.options import RunOptions
from mwanda.text.languages import canonical
from mwanda.text.overlap import overlap, unpack_hashes
from mwanda.text.sources import check_languages, open_source
from mwanda.text.windows import bos_rule

__all__ = ["evaluate", "read_texts", "refuse_overlap"]

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
    generated: int = 0,
    max_length: int | None = None,
    cache: str | Path | None = None,
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
        generated: also generate so many continuations a language and check them for repetition
            and their language, see :mod:`mwanda.evaluation.continued`.
        max_length: tokens of one forward; longer texts go in strides.
        cache: folder where scores are kept by the SHA-256 of the model's files, the texts and all
            else they depend on, and read back where nothing of it has changed. Continuations are
            not kept.

    Raises:
        InputError: bad input, a cache for a model in memory, or text that was drawn for
            calibration.
    """
    options = options or RunOptions()
    if generated:
        need("py3langid", "the check of languages", "translation")
    if isinstance(text, TextSet):
        texts = text
    else:
        texts = read_texts(text, languages, sentences=sentences, seed=seed)
    in_memory = not isinstance(model, str | Path)
    if in_memory and tokenizer is None:
        raise InputError("tokenizer", expected="the model's tokenizer", found="none")
    if in_memory and cache is not None:
        raise InputError(
            "cache", expected="a model on disk, whose files can be hashed", found="one in memory"
        )
    with tempfile.TemporaryDirectory(prefix="mwanda-") as made:
        scratch = Path(made)
        if in_memory:
            refuse_overlap(texts, calibration, options)
            name = str(getattr(model.config, "_name_or_path", "") or type(model).__name__)
            decoder = MemoryDecoder(model)
            with evaluation_mode(model), runnable_experts(model, decoder.dtype):
                scores = _score(decoder, tokenizer, texts, scratch, options, max_length, name)
                result = _evaluation(name, texts, scores, calibration)
                if continuations or generated:
                    _continue(result, model, tokenizer, texts, continuations, generated)
            return result
        check_model(model)
        kept = None if cache is None else KeptScores(Path(cache), texts, options, max_length)
        path = Path(model)
        known = None
        if kept is not None and path.is_file():  # a GGUF need not be converted if it is known
            refuse_overlap(texts, calibration, options)
            known = kept.find(path)
            if known is not None and not (continuations or generated):
                return _evaluation(str(model), texts, known, calibration)
        with open_model(str(model), scratch, trust_remote_code=options.trust_remote_code) as source:
            if calibration is None and (source.folder / MANIFEST).is_file():
                calibration = read_manifest(source.folder).calibration
            refuse_overlap(texts, calibration, options)
            if kept is not None and known is None and not path.is_file():
                known = kept.find(source.folder)
            if known is None or continuations or generated:
                tokenizer = load_tokenizer(
                    source.folder, trust_remote_code=options.trust_remote_code
                )
            if known is None:
                with open_decoder(source, options, measuring=True) as streamed:
                    known = _score(
                        streamed, tokenizer, texts, scratch, options, max_length, str(model)
                    )
                if kept is not None:
                    kept.keep(path if path.is_file() else source.folder, known)
            result = _evaluation(str(model), texts, known, calibration)
            dtype, device = DTYPES[known.settings["compute_dtype"]], choose_device(options.device)
            if (continuations or generated) and fits_whole(source.folder, dtype):
                whole = load_whole(source.folder, dtype, device, options)
                _continue(result, whole, tokenizer, texts, continuations, generated)
        return result


def _continue(
    result: Evaluation,
    model: Any,
    tokenizer: Any,
    texts: TextSet,
    continuations: bool,
    generated: int,
) -> None:
    """What the model, whole in memory, goes on with, put into the result."""
    bos = bos_rule(tokenizer)
    if continuations:
        result.continuations.update(continue_texts(model, tokenizer, texts.texts, bos=bos))
    if generated:
        found = continue_and_check(model, tokenizer, texts.texts, generated, bos=bos)
        result.generated.update(found)


def _score(
    decoder: Decoder,
    tokenizer: Any,
    texts: TextSet,
    scratch: Path,
    options: RunOptions,
    max_length: int | None,
    name: str,
) -> Scores:
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
    broken = [tag for tag, result in languages.items() if not math.isfinite(result.nll)]
    if broken:
        raise DataError(
            f"{name}, language {broken[0]}",
            expected="a finite negative log-likelihood",
            found=f"NaN or infinity ({len(broken)} such languages)",
            fix="check the weights with mwanda verify, or compute in float32",
        )
    settings = {
        "bos": "none" if bos is None else f"before every text: id {bos}",
        "compute_dtype": dtype_name(decoder.dtype),
    }
    return Scores(languages, settings)


def _evaluation(
    name: str, texts: TextSet, scores: Scores, calibration: CalibrationRecord | None
) -> Evaluation:
    seen = () if calibration is None else calibration.seen
    return Evaluation(
        name,
        scores.languages,
        tuple(tag for tag in scores.languages if tag in seen),
        texts.source,
        texts.sha256,
        scores.settings | {"seed": texts.seed},
    )


def refuse_overlap(
    texts: TextSet, calibration: CalibrationRecord | None, options: RunOptions
) -> None:
    """Refuse texts that calibrated the model.

    Raises:
        InputError: naming the languages, and one text of each.
    """
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
