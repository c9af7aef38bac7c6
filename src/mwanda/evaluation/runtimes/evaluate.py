"""An artefact scored in the runtime that serves it: texts, ids and results as elsewhere."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

import torch

from mwanda.errors import InputError
from mwanda.evaluation.by_language import (
    by_language,
    evaluation_of,
    flat,
    refuse_overlap,
    refuse_unscored,
)
from mwanda.evaluation.cache import KeptScores, Scores
from mwanda.evaluation.likelihood import TextScore
from mwanda.evaluation.results import Evaluation
from mwanda.evaluation.runtimes.registry import check_url, device_of, find_runtime, open_runtime
from mwanda.evaluation.runtimes.runtime import Asked, Runtime
from mwanda.evaluation.texts import TextSet
from mwanda.evaluation.token_batches import (
    MAX_LENGTH,
    scored_tokens,
    stride_settings,
    text_pieces,
)
from mwanda.model.given import is_gguf
from mwanda.pruning.folder.known_text import KnownText, known_in_folder, records
from mwanda.pruning.given_arguments import tokenizer_given
from mwanda.system.run_options import RunOptions
from mwanda.text.start import start_of, start_settings
from mwanda.text.tokens import token_ids

log = logging.getLogger("mwanda")

UNKNOWN = "unknown"
"""The version of what is not installed."""


@dataclass(frozen=True)
class Served:
    """How an artefact is served.

    Attributes:
        runtime: a name of :data:`mwanda.evaluation.runtimes.registry.RUNTIMES`.
        tokenizer: whose ids are scored: a tokenizer, or a folder or GGUF file with one; None for
            that in the artefact.
        url: of a server.
    """

    runtime: str
    tokenizer: Any = None
    url: str | None = None


def evaluate_artefact(
    artefact: str,
    texts: TextSet,
    served: Served,
    *,
    calibration: KnownText,
    max_length: int | None,
    cache: Path | None,
    options: RunOptions,
) -> Evaluation:
    """Every language's texts under an artefact, see :func:`mwanda.evaluation.evaluate.evaluate`.

    What the artefact was calibrated on is read where it is a folder of mwanda's, and from the
    folder of the tokenizer where that is one.
    """
    row = find_runtime(served.runtime)
    options = replace(options, device=device_of(served.runtime, options.device))
    check_url(served.runtime, served.url)
    folders = [Path(artefact)]
    if isinstance(served.tokenizer, str | Path):
        folders.append(Path(served.tokenizer))
    known = records(calibration, *(known_in_folder(one) for one in folders if one.is_dir()))
    refuse_overlap(texts, known, options)
    tokenizer = _tokenizer(artefact, served, options)
    start, ids = start_of(tokenizer), [token_ids(tokenizer, text) for text in flat(texts)]
    asked = Asked(artefact, torch.get_num_threads(), max_length or MAX_LENGTH, served.url, options)
    versions = {name: _version(name) for name in row.packages}
    versions |= {name: installed for name in row.beside if (installed := _version(name)) != UNKNOWN}
    told = {"name": served.runtime, "versions": versions}
    kept = None
    if cache is not None:
        if served.url is not None:
            found = "one behind an address"
            raise InputError("cache", expected="an artefact on disk", found=found)
        more = told | {"threads": asked.threads, "ids_sha256": _digest(start, ids)}
        kept = KeptScores(cache, texts, options, max_length, runtime=more)
    scores = None if kept is None else kept.find(Path(artefact))
    if scores is None:
        with closing(open_runtime(served.runtime, asked)) as runtime:
            if differing := count_differences(runtime, ids, texts):
                told["texts_cut_otherwise"] = differing
            scores = _scores(runtime, tokenizer, start, ids, texts, asked, told)
        if kept is not None:
            kept.keep(Path(artefact), scores)
    tell_differences(scores.settings["runtime"].get("texts_cut_otherwise", {}), texts, artefact)
    return evaluation_of(artefact, texts, scores, known)


def count_differences(runtime: Runtime, ids: Sequence[list[int]], texts: TextSet) -> dict[str, int]:
    """Language -> how many of its texts the artefact's own tokenizer cuts otherwise, where it does.

    Args:
        ids: of every text, language after language.
    """
    scored = iter(ids)
    found: dict[str, int] = {}
    for tag, group in texts.texts.items():
        for text in group:
            own = runtime.own_ids(text)
            if own is None:
                return {}
            if list(own) != next(scored):
                found[tag] = found.get(tag, 0) + 1
    return found


def tell_differences(found: dict[str, int], texts: TextSet, name: str) -> None:
    """Say in one line how many texts are cut otherwise."""
    if found:
        log.warning(
            "%s: its own tokenizer cuts %d of %d texts otherwise, in %s; scored are the ids of "
            "--tokenizer, and the program that serves it sees others", name, sum(found.values()),
            sum(map(len, texts.texts.values())), ", ".join(found),
        )  # fmt: skip


def _scores(
    runtime: Runtime,
    tokenizer: Any,
    start: Sequence[int],
    ids: Sequence[list[int]],
    texts: TextSet,
    asked: Asked,
    told: dict[str, Any],
) -> Scores:
    pieces = text_pieces(ids, start, asked.max_length, runtime.context_length, runtime.vocabulary)
    counts = scored_tokens(pieces, len(ids))
    refuse_unscored(texts, asked.artefact, counts)
    progress = asked.options.progress
    progress.stage("evaluate", len(pieces), unit="input")
    sums: list[list[float]] = [[] for _ in ids]
    for piece, losses in zip(pieces, runtime.losses(pieces), strict=True):
        sums[piece.text] += losses
        progress.block(len(piece.ids))
    scored = [
        TextScore(math.fsum(own), count, len(text.encode()))
        for own, count, text in zip(sums, counts, flat(texts), strict=True)
    ]
    settings = start_settings(tokenizer, start) | stride_settings(pieces)
    settings["runtime"] = told | dict(runtime.told)
    return by_language(texts, scored, settings, asked.artefact)


def _tokenizer(artefact: str, served: Served, options: RunOptions) -> Any:
    """That which was given, or the artefact's own."""
    given = served.tokenizer
    path = Path(artefact)
    if given is None:
        files: Sequence[Path] = [*path.glob("tokenizer*")] if path.is_dir() else []
        if not files and not is_gguf(path):
            raise InputError(
                "--tokenizer", expected=f"a folder with the tokenizer of {artefact}, which has "
                "none", found="none", fix="give the folder that it was converted from",
            )  # fmt: skip
        given = path
    return tokenizer_given(given, options)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # vLLM for processors is a package of another name
        others = packages_distributions().get(package, [])
        return ", ".join(f"{name} {version(name)}" for name in others) or UNKNOWN


def _digest(start: Sequence[int], ids: Sequence[list[int]]) -> str:
    """SHA-256 of all that is put in: how a text begins, and every text's ids."""
    return hashlib.sha256(json.dumps([list(start), *ids]).encode()).hexdigest()
