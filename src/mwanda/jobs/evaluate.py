"""Evaluate a model on parallel or other text, language by language."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mwanda.device import dtype_name
from mwanda.errors import InputError
from mwanda.evaluation.generation import Continuation, continue_texts
from mwanda.evaluation.likelihood import score_texts
from mwanda.evaluation.results import Evaluation, LanguageResult
from mwanda.evaluation.texts import TextSet, load_texts
from mwanda.jobs.loading import open_decoder
from mwanda.manifest import MANIFEST, CalibrationRecord, read_manifest
from mwanda.model.decoder import Decoder, MemoryDecoder
from mwanda.model.source import load_tokenizer, open_model
from mwanda.options import RunOptions
from mwanda.text.languages import canonical
from mwanda.text.overlap import overlap, unpack_hashes
from mwanda.text.sources import check_languages, open_source
from mwanda.text.windows import bos_rule

__all__ = ["evaluate", "read_texts"]


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
            training = model.training
            model.eval()
            try:
                return _run(
                    decoder, tokenizer, texts, calibration, Path(scratch), options, max_length,
                    name=str(getattr(model.config, "_name_or_path", "") or type(model).__name__),
                    generator=model if continuations else None,
                )  # fmt: skip
            finally:
                model.train(training)
        folder = Path(model)
        if calibration is None and (folder / MANIFEST).is_file():
            calibration = read_manifest(folder).calibration
        _refuse_overlap(texts, calibration, options)
        with open_model(str(model), Path(scratch)) as source:
            tokenizer = load_tokenizer(source.folder, trust_remote_code=options.trust_remote_code)
            with open_decoder(source, options, measuring=True) as streamed:
                result = _run(
                    streamed, tokenizer, texts, calibration, Path(scratch), options, max_length,
                    name=str(model), generator=None,
                )  # fmt: skip
                dtype, device = streamed.dtype, streamed.device
            if continuations:
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
    seen = () if calibration is None else tuple(calibration.languages)
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
    problems = []
    for tag, group in texts.texts.items():
        drawn = calibration.languages.get(tag)
        if drawn is None:
            continue
        shared = overlap(group, unpack_hashes(drawn.sentences))
        if shared:
            problems.append(
                f"{texts.source}, {tag}: expected text that did not calibrate the model, found "
                f"{len(shared)} of {len(group)} texts that share sentences with it, the first being "
                f"number {shared[0] + 1}; evaluate on other text, or pass --allow-overlap"
            )
    if problems:
        raise InputError.several(problems)


def _load_whole(folder: Path, dtype: torch.dtype, device: torch.device, options: RunOptions) -> Any:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        trust_remote_code=options.trust_remote_code,
        local_files_only=True,
    )
    return model.to(device).eval()
