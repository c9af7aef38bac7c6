"""Evaluate a model on parallel or other text, language by language."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mwanda.errors import InputError
from mwanda.evaluation.by_language import (
    by_language,
    evaluation_of,
    flat,
    refuse_overlap,
    refuse_unscored,
)
from mwanda.evaluation.cache import KeptScores, Scores
from mwanda.evaluation.generation import continue_and_check, continue_texts
from mwanda.evaluation.likelihood import score_texts
from mwanda.evaluation.results import Evaluation
from mwanda.evaluation.runtimes.evaluate import Served, evaluate_artefact
from mwanda.evaluation.runtimes.registry import is_quantised
from mwanda.evaluation.texts import TextSet, texts_given
from mwanda.evaluation.token_batches import Piece, scored_tokens, stride_settings
from mwanda.evaluation.whole_model import fits_whole, load_whole
from mwanda.model.given import check_model
from mwanda.model.opening import open_decoder
from mwanda.model.run.decoder import Decoder, MemoryDecoder, evaluation_mode
from mwanda.model.run.experts import runnable_experts
from mwanda.model.run.in_memory import model_given
from mwanda.model.source import load_tokenizer, open_model
from mwanda.pruning.folder.known_text import KnownText, known_in_folder, known_in_memory, records
from mwanda.pruning.given_arguments import no_tokenizer, options_given, tokenizer_given
from mwanda.system.arguments import whole_given
from mwanda.system.device import DTYPES, choose_device, dtype_name
from mwanda.system.extras import need
from mwanda.system.run_options import RunOptions
from mwanda.system.speaking import speaking
from mwanda.system.surroundings import undisturbed
from mwanda.text.start import start_of, start_settings

log = logging.getLogger("mwanda")


@speaking
@undisturbed()
def evaluate(
    model: Any,
    text: str | Path | Mapping[str, Any] | TextSet,
    *,
    languages: str | Sequence[str] | None = None,
    sentences: int | None = None,
    seed: int = 0,
    ids: tuple[int, int | None] | str | None = None,
    tokenizer: Any = None,
    calibration: KnownText = None,
    continuations: bool = False,
    generated: int = 0,
    max_length: int | None = None,
    cache: str | Path | None = None,
    runtime: str | None = None,
    url: str | None = None,
    options: RunOptions | None = None,
) -> Evaluation:
    """Negative log-likelihood of every language's texts under a model.

    Args:
        model: a folder, GGUF file or hub id; or a transformers model in memory with ``tokenizer``.
        text: a source, or texts read before.
        languages, sentences, seed, ids: see :func:`read_texts`; texts read before have their own.
        tokenizer: for a model in memory, or an artefact of a runtime; or its folder.
        calibration: text that calibrated the model beside what it tells itself, which a folder
            of mwanda's does, and a model pruned in memory or loaded from such a folder: the
            ``manifest.calibrations`` of a prune.
        continuations: also generate one continuation a language, which needs the model whole in
            memory.
        generated: also generate so many continuations a language and check them for repetition
            and their language, see :mod:`mwanda.evaluation.generation`.
        max_length: tokens of one forward; longer texts go in strides.
        cache: folder where scores are kept by the SHA-256 of the model's files, the texts and all
            else they depend on, and read back where nothing of it has changed. Continuations are
            not kept.
        runtime: score ``model``, an artefact, in the program that serves it, see
            :data:`mwanda.evaluation.runtimes.registry.RUNTIMES`. None for mwanda's own forward; a
            folder whose config says that its weights are quantised is run by transformers.
        url: of the server, for ``runtime="openai"``; ``model`` is then its name there.

    Raises:
        InputError: bad input, a cache for a model in memory, or text that was drawn for
            calibration.
    """
    options = options_given(options)
    whole_given("generated", generated, 0)
    if max_length is not None:
        whole_given("max_length", max_length, 2)
    if generated:
        need("py3langid", "the check of languages", "translation")
    texts = texts_given(text, languages, sentences=sentences, seed=seed, ids=ids)
    in_memory = not isinstance(model, str | Path)
    if runtime is None and url is None and not in_memory and is_quantised(Path(model)):
        runtime = "transformers"
        log.info("%s: quantised weights, run by transformers as a whole", model)
        continuations = False
    if runtime is not None or url is not None:
        if in_memory or continuations or generated:
            found = "a model in memory" if in_memory else "continuations asked for"
            expected = "an artefact on disk or behind an address, to score"
            raise InputError("runtime", expected=expected, found=found)
        return evaluate_artefact(
            str(model), texts, Served(runtime or "openai", tokenizer, url),
            calibration=calibration, max_length=max_length,
            cache=None if cache is None else Path(cache), options=options,
        )  # fmt: skip
    if in_memory:
        tokenizer = tokenizer_given(tokenizer, options)
    else:
        no_tokenizer(tokenizer)
    if in_memory and cache is not None:
        raise InputError(
            "cache", expected="a model on disk, whose files can be hashed", found="one in memory"
        )
    with tempfile.TemporaryDirectory(prefix="mwanda-") as made:
        scratch = Path(made)
        if in_memory:
            model = model_given(model)
            known_text = records(calibration, known_in_memory(model))
            refuse_overlap(texts, known_text, options)
            name = str(getattr(model.config, "_name_or_path", "") or type(model).__name__)
            decoder = MemoryDecoder(model)
            with evaluation_mode(model), runnable_experts(model, decoder.dtype):
                scores = score_languages(
                    decoder, tokenizer, texts, scratch, options, max_length, name
                )
                result = evaluation_of(name, texts, scores, known_text)
                if continuations or generated:
                    _continue(result, model, tokenizer, texts, continuations, generated)
            return result
        check_model(model)
        kept = None if cache is None else KeptScores(Path(cache), texts, options, max_length)
        path = Path(model)
        known, known_text = None, records(calibration)
        if kept is not None and path.is_file():  # a GGUF need not be converted if it is known
            refuse_overlap(texts, known_text, options)
            known = kept.find(path)
            if known is not None and not (continuations or generated):
                return evaluation_of(str(model), texts, known, known_text)
        with open_model(str(model), scratch, trust_remote_code=options.trust_remote_code) as source:
            known_text = records(known_text, known_in_folder(source.folder))
            refuse_overlap(texts, known_text, options)
            if kept is not None and known is None and not path.is_file():
                known = kept.find(source.folder)
            if known is None or continuations or generated:
                tokenizer = load_tokenizer(
                    source.folder, trust_remote_code=options.trust_remote_code
                )
            if known is None:
                with open_decoder(source, options, measuring=True) as streamed:
                    known = score_languages(
                        streamed, tokenizer, texts, scratch, options, max_length, str(model)
                    )
                if kept is not None:
                    kept.keep(path if path.is_file() else source.folder, known)
            result = evaluation_of(str(model), texts, known, known_text)
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
    start = start_of(tokenizer)
    log.info("%s: generating text in each language", result.model)
    if continuations:
        result.continuations.update(continue_texts(model, tokenizer, texts.texts, start=start))
    if generated:
        found = continue_and_check(model, tokenizer, texts.texts, generated, start=start)
        result.generated.update(found)


def score_languages(
    decoder: Decoder,
    tokenizer: Any,
    texts: TextSet,
    scratch: Path,
    options: RunOptions,
    max_length: int | None,
    name: str,
) -> Scores:
    """Every language's texts under a decoder, whatever it is called."""
    start, given = start_of(tokenizer), flat(texts)
    settings = start_settings(tokenizer, start) | {"compute_dtype": dtype_name(decoder.dtype)}

    def check(pieces: Sequence[Piece]) -> None:
        counts = scored_tokens(pieces, len(given))
        settings.update(stride_settings(pieces))
        refuse_unscored(texts, name, counts)
        log.info("scoring %s: %s, %s tokens", name, texts.counted, f"{sum(counts):,}")

    scores = score_texts(
        decoder,
        tokenizer,
        given,
        start=start,
        scratch=scratch,
        options=options,
        max_length=max_length,
        check=check,
    )
    return by_language(texts, scores, settings, name)
