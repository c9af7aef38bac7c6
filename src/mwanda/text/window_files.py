"""Windows and their file: safetensors, one int64 tensor per language, provenance as metadata.

Nothing is pickled, and a file that another tool wrote is read too, if its keys are language tags.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mwanda.errors import InputError
from mwanda.system.shown import Shown
from mwanda.text.languages import MULTIPLE, canonical
from mwanda.text.shared_sentences import pack_hashes, unpack_hashes

_KEY = "mwanda"
_FORMAT = 1
_LISTS = ("kept", "background")
_WORDS = ("vocabulary", "companions", "background_source")
_TOLD = ("source", "seed", "bos", "length", *_WORDS)


@dataclass(frozen=True, repr=False)
class LanguageDraw(Shown):
    """Where one language's windows came from.

    Attributes:
        language: canonical tag.
        windows: the number of windows.
        tokens: the number of tokens in them, each window's first token included.
        documents: the number of documents used, the last perhaps in part.
        duplicates_dropped: repeated documents left out, among those read.
        english_lines_dropped: lines of English left out, among the documents read.
        documents_emptied: documents that were nothing but such lines.
        window_sha256: of the tokens as little-endian int64, row by row.
        sentence_hashes: of the documents used;
            see :func:`mwanda.text.shared_sentences.pack_hashes`.
        source_sha256: of the file read, joined with that of the English file where cleaning used it
            (:func:`mwanda.text.windows.fingerprints`); None for a data set of the Hub or foreign
            windows.
    """

    language: str
    windows: int
    tokens: int
    documents: int
    duplicates_dropped: int
    english_lines_dropped: int
    documents_emptied: int
    window_sha256: str
    sentence_hashes: str
    source_sha256: str | None


@dataclass(frozen=True, repr=False)
class Windows(Shown):
    """Token windows by language.

    Attributes:
        tokens: canonical tag to an int64 tensor ``[windows, length]``; both sizes may differ
            between languages.
        draws: canonical tag to where the windows came from.
        source: the text source as the user wrote it, or the file of foreign windows.
        seed: of the shuffle; None for foreign windows.
        bos: how every window begins: ``first token of every window: id N``, ``first tokens of every
            window: ids N, M``, ``none`` or ``as given``.
        length: tokens in a window, as asked for or as the model's context has it, which a language
            with little text may not reach; None for foreign windows.
        kept: what cleaning was told to leave in, ``english`` and ``repeated``.
        vocabulary: SHA-256 of the tokenizer's tokens and their ids; None where it is not known.
        companions: SHA-256 of the files that it and its model's configs are in; None where that is
            not known.
        background: languages that nobody named, whose windows are together under
            :data:`~mwanda.text.languages.MULTIPLE`.
        background_source: where their text is from; None without any.
    """

    tokens: dict[str, torch.Tensor]
    draws: dict[str, LanguageDraw]
    source: str
    seed: int | None
    bos: str
    length: int | None
    kept: tuple[str, ...] = ()
    vocabulary: str | None = None
    companions: str | None = None
    background: tuple[str, ...] = ()
    background_source: str | None = None

    def _summary(self) -> str:
        counts = ", ".join(f"{tag} {len(ids)}×{ids.shape[1]}" for tag, ids in self.tokens.items())
        return f"{self.source}, {counts}"

    def _records(self) -> list[dict[str, Any]]:
        left_out = ("sentence_hashes", "window_sha256", "source_sha256")
        return [
            {name: value for name, value in asdict(draw).items() if name not in left_out}
            for draw in self.draws.values()
        ]

    @property
    def languages(self) -> list[str]:
        """Those that a user named."""
        return [tag for tag in self.tokens if tag != MULTIPLE]

    @property
    def total_tokens(self) -> int:
        return sum(tensor.numel() for tensor in self.tokens.values())


def window_sha256(tokens: torch.Tensor) -> str:
    """SHA-256 of the tokens as little-endian int64, row by row, in hexadecimal."""
    return hashlib.sha256(tokens.contiguous().numpy().astype("<i8").tobytes()).hexdigest()


def save(windows: Windows, path: Path, *, overwrite: bool = False) -> None:
    """Writes the windows to a safetensors file, whole or not at all."""
    path = Path(path)
    if path.is_dir() or (path.exists() and not overwrite):
        found = "a folder" if path.is_dir() else "a file that is there already"
        fix = "choose another name or overwrite it"
        raise InputError(str(path), expected="a new file", found=found, fix=fix)
    if not path.parent.is_dir():
        expected = "a folder to write to"
        raise InputError(str(path), expected=expected, found=f"no folder {path.parent}")
    provenance = {
        "format": _FORMAT,
        **{name: getattr(windows, name) for name in (*_TOLD, *_LISTS)},
        "draws": [asdict(windows.draws[language]) for language in windows.tokens],
    }
    tensors = {language: tensor.contiguous() for language, tensor in windows.tokens.items()}
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            save_file(tensors, unfinished, metadata={_KEY: json.dumps(provenance)})
        except (SafetensorError, OSError) as error:
            raise InputError(
                str(path), expected="a place to write to", found=str(error)[:120]
            ) from error
        unfinished.chmod(0o644)  # save_file makes it readable by its owner only
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def load(
    path: Path, languages: Sequence[str] | None = None, *, vocabulary: int | None = None
) -> Windows:
    """Reads windows that :func:`save` or another tool wrote; the latter have no seed, length or
    sentence hashes.

    Args:
        languages: canonical tags to read, in that order; None for all there are. The background is
            read with them, where there is one.
        vocabulary: if given, every token id must be below it.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"windows {path}", expected="a safetensors file", found="no such file")
    try:
        with safe_open(path, framework="pt") as file:
            written = _provenance(path, (file.metadata() or {}).get(_KEY))
            keys = _keys(path, file.keys(), list(written.draws))
            wanted = list(keys) if languages is None else list(dict.fromkeys(languages))
            _check_present(path, wanted, keys)
            wanted += [MULTIPLE] if MULTIPLE in keys and MULTIPLE not in wanted else []
            tokens, problems = {}, []
            for tag in wanted:
                thing = f"windows {path}, language {tag!r}"
                header = file.get_slice(keys[tag])
                found = _misshapen(header.get_dtype(), header.get_shape())
                if found:
                    problems.append(f"{thing}: expected int64 [windows, length], found {found}")
                    continue
                tokens[tag] = file.get_tensor(keys[tag])
                problems.extend(
                    _wrong_tokens(thing, tokens[tag], written.draws.get(tag), vocabulary)
                )
    except (SafetensorError, OSError) as error:
        expected = "a safetensors file"
        raise InputError(f"windows {path}", expected=expected, found=str(error)) from error
    if problems:
        raise InputError.several(problems)
    draws = {tag: written.draws.get(tag) or _foreign(tag, tokens[tag]) for tag in tokens}
    return replace(written, tokens=tokens, draws=draws)


def _keys(path: Path, names: Iterable[str], order: Sequence[str]) -> dict[str, str]:
    """Canonical tag to the tensor's name, in the order written, the others sorted after."""
    keys: dict[str, str] = {}
    problems: list[str] = []
    for name in names:
        try:
            tag = name if name == MULTIPLE and name in order else canonical(name)
        except InputError as error:
            problems.append(f"windows {path}, tensor {name!r}: {error}")
            continue
        if tag in keys:
            problems.append(
                f"windows {path}: expected one tensor per language, found {keys[tag]!r} and "
                f"{name!r} for {tag}"
            )
        keys[tag] = name
    if problems:
        raise InputError.several(problems)
    if not keys:
        raise InputError(f"windows {path}", expected="a tensor per language", found="none")
    first = [tag for tag in order if tag in keys]
    return {tag: keys[tag] for tag in [*first, *sorted(set(keys) - set(first))]}


def _check_present(path: Path, wanted: Sequence[str], keys: Mapping[str, str]) -> None:
    if not wanted:
        raise InputError("languages", expected="at least one", found="none")
    missing = [tag for tag in wanted if tag not in keys]
    if missing:
        raise InputError.several(
            f"language {tag!r}: expected one of those in {path}, {', '.join(keys)}; "
            f"draw windows for it or drop it"
            for tag in missing
        )


def _misshapen(dtype: str, shape: Sequence[int]) -> str | None:
    """What is wrong with a tensor's header, if anything."""
    if dtype != "I64":
        return f"dtype {dtype}"
    return f"shape {list(shape)}" if len(shape) != 2 or 0 in shape else None


def _wrong_tokens(
    thing: str, tokens: torch.Tensor, written: LanguageDraw | None, vocabulary: int | None
) -> list[str]:
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or (vocabulary is not None and high >= vocabulary):
        below = "0 or more" if vocabulary is None else f"from 0 to {vocabulary - 1}"
        return [
            f"{thing}: expected token ids {below}, found {low if low < 0 else high}; "
            f"draw windows with this model's tokenizer"
        ]
    if written is not None and written.window_sha256 != window_sha256(tokens):
        return [f"{thing}: expected the tokens its provenance names, found others; draw them again"]
    return []


def _foreign(language: str, tokens: torch.Tensor) -> LanguageDraw:
    """What can be said of windows that came without provenance."""
    sha256, none = window_sha256(tokens), pack_hashes([])
    return LanguageDraw(language, tokens.shape[0], tokens.numel(), 0, 0, 0, 0, sha256, none, None)


def _provenance(path: Path, text: str | None) -> Windows:
    """What the metadata says, without the tokens; of another tool's file, that it says nothing."""
    if text is None:
        return Windows({}, {}, str(path), None, "as given", None)
    try:
        found = json.loads(text)
        _check_types(found, {"source": str, "seed": int | None, "bos": str, "length": int | None})
        if found.get("format") != _FORMAT:
            raise TypeError(f"format {found.get('format')!r}")
        found = {**{name: [] for name in _LISTS}, **dict.fromkeys(_WORDS), **found}
        _check_types(found, {**dict.fromkeys(_LISTS, list), **dict.fromkeys(_WORDS, str | None)})
        draws = [_draw(entry) for entry in found["draws"]]
    except (ValueError, TypeError, KeyError, RecursionError, InputError) as error:
        expected = f"provenance of format {_FORMAT} under {_KEY!r} in the metadata"
        fix = "the file is damaged or from another version; draw the windows again"
        raise InputError(f"windows {path}", expected=expected, found=str(error), fix=fix) from error
    by_tag = {draw.language: draw for draw in draws}
    told = {name: found[name] for name in _TOLD}
    told |= {name: tuple(map(str, found[name])) for name in _LISTS}
    return Windows({}, by_tag, **told)


def _draw(entry: Any) -> LanguageDraw:
    numbers = {field.name: int for field in fields(LanguageDraw) if field.type == "int"}
    words = {"language": str, "window_sha256": str, "sentence_hashes": str}
    _check_types(entry, {**numbers, **words, "source_sha256": str | None})
    unpack_hashes(entry["sentence_hashes"])
    return LanguageDraw(**entry)


def _check_types(entry: Any, types: Mapping[str, Any]) -> None:
    if not isinstance(entry, dict):
        raise TypeError(f"{type(entry).__name__} instead of an object")
    for name, kind in types.items():
        if not isinstance(entry[name], kind) or isinstance(entry[name], bool):
            raise TypeError(f"{name} of type {type(entry[name]).__name__}")
