"""Scores kept by the hash of all they depend on, so that a baseline is computed once.

A key is made of contents, never of names or times: a changed weight, tokenizer or text is another
key. What is read back must be whole and carry its own key; anything else counts as absent.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mwanda.errors import InputError
from mwanda.evaluation.language import LanguageResult
from mwanda.evaluation.texts import TextSet
from mwanda.evaluation.token_batches import MAX_LENGTH
from mwanda.pruning.folder.manifest import MANIFEST, versions
from mwanda.system.device import choose_device
from mwanda.system.files import sha256_of
from mwanda.system.run_options import RunOptions

log = logging.getLogger("mwanda")

FORMAT = 3


UNREAD = (
    ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx", ".ot", ".mlmodel",
    ".npz", ".tflite",
)  # fmt: skip
"""Ends of names of weights in formats that are not read."""


@dataclass(frozen=True)
class Scores:
    """What is kept: every language's result, and the settings they were computed under."""

    languages: dict[str, LanguageResult]
    settings: dict[str, Any]


def model_sha256(model: Path, unread: tuple[str, ...] = UNREAD) -> str:
    """SHA-256 over what decides a model's numbers.

    Args:
        model: a GGUF file, of which all parts count where it is split, or a folder: then names and
            contents of all its files count, but for weights in formats that are not read, mwanda's
            manifest and the card. A manifest's own hashes are not taken instead: they say what was
            written, not what is there.
        unread: ends of names of these weights; a runtime may read any.
    """
    if model.is_file():
        hashes = [sha256_of(part) for part in parts_of(model)]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256(str(hashes).encode()).hexdigest()
    state = hashlib.sha256()
    for path in sorted(model.rglob("*")):
        name = path.relative_to(model).as_posix()
        hidden = any(part.startswith(".") for part in Path(name).parts)
        if hidden or name in (MANIFEST, "README.md") or name.lower().endswith(unread):
            continue
        if path.is_file():
            state.update(f"{name}\0{sha256_of(path)}\0".encode())
    return state.hexdigest()


def parts_of(file: Path) -> list[Path]:
    """The file, or all parts that are there of the split GGUF that it is a part of, in order."""
    split = re.fullmatch(r"(.+-)\d{5}(-of-(\d{5})\.gguf)", file.name)
    if split is None:
        return [file]
    start, end, count = split.groups()
    parts = (file.with_name(f"{start}{n:05d}{end}") for n in range(1, int(count) + 1))
    return [part for part in parts if part.is_file()] or [file]


def artefact_sha256(path: Path) -> str:
    """The same of what ships: of all its files, as a runtime may read any."""
    return model_sha256(path, unread=())


class ScoreCache:
    """A folder of JSON files, one for each key.

    Args:
        folder: made when it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Tried, not asked: permission bits say nothing to root or on a read-only disk.
            with tempfile.TemporaryDirectory(prefix=".", dir=folder):
                pass
        except OSError as error:
            raise InputError(
                f"--cache {folder}",
                expected="a folder that can be written",
                found=error.strerror or type(error).__name__,
                fix="choose another folder",
            ) from error

    def key(self, model: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Everything a score depends on: the model's content, ``settings``, the versions."""
        return {
            "format": FORMAT,
            "model_sha256": (artefact_sha256 if settings.get("runtime") else model_sha256)(model),
            **settings,
            "versions": versions(),
        }

    def path(self, key: Mapping[str, Any]) -> Path:
        """Where the scores of a key are kept."""
        return self._folder / f"{_digest(key)}.json"

    def load(self, key: Mapping[str, Any]) -> Scores | None:
        """The scores of a key; None when there are none, or none that are whole."""
        path = self.path(key)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            log.warning("%s: unreadable (%s); computed anew", path, error)
            return None
        scores = _scores(data, key)
        if scores is None:
            log.warning("%s: damaged, or not written by mwanda; computed anew", path)
        return scores

    def save(self, key: Mapping[str, Any], scores: Scores) -> None:
        """Keep scores under a key. A full disk costs the copy, not the scores."""
        body = {
            "key": dict(key),
            "settings": scores.settings,
            "languages": {
                tag: {name: value for name, value in asdict(result).items() if name != "language"}
                for tag, result in scores.languages.items()
            },
        }
        path = self.path(key)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            with partial.open("w", encoding="utf-8") as file:
                json.dump(body | {"sha256": _digest(body)}, file, indent=1, ensure_ascii=False)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except OSError as error:
            log.warning("%s: not kept: %s", path, error.strerror)
        finally:
            partial.unlink(missing_ok=True)


class KeptScores:
    """The cache as one evaluation sees it: its texts and settings, for any model.

    How texts begin and the resolved compute dtype follow from the model's files, the device and the
    versions, all of them in the key.
    """

    def __init__(
        self,
        folder: Path,
        texts: TextSet,
        options: RunOptions,
        max_length: int | None,
        runtime: Mapping[str, Any] | None = None,
    ) -> None:
        self._cache = ScoreCache(folder)
        self._texts = texts
        self._settings = {
            "text_sha256": texts.sha256,
            "compute_dtype": options.compute_dtype,
            "device": choose_device(options.device).type,
            "max_length": max_length or MAX_LENGTH,
            "trust_remote_code": options.trust_remote_code,
        }
        if runtime is not None:
            self._settings["runtime"] = dict(runtime)
        self._key: dict[str, Any] = {}

    def find(self, model: Path) -> Scores | None:
        """Scores of the model's present content on the texts, None if they are not kept."""
        self._key = self._cache.key(model, self._settings)
        scores = self._cache.load(self._key)
        if scores is None:
            return None
        # Digests do not count languages apart: the order is that of the texts at hand.
        counts = {tag: len(group) for tag, group in self._texts.texts.items()}
        if {t: len(r.sentence_nll) for t, r in scores.languages.items()} != counts:
            return None
        log.info("%s: scores read from %s", model, self._cache.path(self._key))
        return Scores({tag: scores.languages[tag] for tag in counts}, scores.settings)

    def keep(self, model: Path, scores: Scores) -> None:
        """Keep scores, unless the model's files have changed while they were computed."""
        if self._cache.key(model, self._settings) == self._key:
            self._cache.save(self._key, scores)
        else:
            log.warning("%s: changed while it was evaluated; its scores are not kept", model)


def _digest(data: Mapping[str, Any]) -> str:
    text = json.dumps(data, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _scores(data: Any, key: Mapping[str, Any]) -> Scores | None:
    """What a file holds, None if it is not exactly what :meth:`ScoreCache.save` wrote."""
    try:
        body = {name: value for name, value in data.items() if name != "sha256"}
        if data["sha256"] != _digest(body) or body["key"] != dict(key):
            return None
        languages = {
            tag: LanguageResult(
                tag,
                tuple(float(value) for value in row["sentence_nll"]),
                *(int(row[name]) for name in ("tokens", "size", "unscored")),
            )
            for tag, row in body["languages"].items()
        }
        finite = all(math.isfinite(result.nll) for result in languages.values())
        return Scores(languages, dict(body["settings"])) if finite else None
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        return None
