"""A tokenizer's vocabulary as ``tokenizer.json`` has it: what each token is made of, and which
tokens of its own it is built from."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from mwanda.errors import InputError
from mwanda.pruned.trim.merge_trees import MergeTrees, pair_of

KINDS = ("BPE", "Unigram", "WordPiece")

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_RESERVED = re.compile(r"(unused|reserved)\D*\d+", re.IGNORECASE)

_NO_TOKENS: dict[str, Any] = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
    "pre_tokenizer": None, "post_processor": None, "decoder": None,
    "model": {"type": "BPE", "vocab": {}, "merges": []},
}  # fmt: skip
"""The rest of a ``tokenizer.json`` of which only the normaliser is wanted."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a ``tokenizer.json``.

    Attributes:
        data: the file.
        name: of the file, for messages.
        unused: ids that are known to stand for nothing.
    """

    data: dict[str, Any]
    name: str
    unused: frozenset[int] = frozenset()

    @classmethod
    def read(cls, folder: Path) -> Vocabulary:
        """A model folder's own."""
        path = folder / "tokenizer.json"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise InputError(
                str(path), expected="the vocabulary of a fast tokenizer", found="no such file",
                fix="save the tokenizer again with transformers, which writes it",
            ) from error  # fmt: skip
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(str(path), expected="JSON in UTF-8", found=str(error)[:200]) from error
        model = data.get("model") if isinstance(data, dict) else None
        kind = model.get("type") if isinstance(model, dict) else None
        if kind not in KINDS:
            raise InputError(
                f"{path}: model", expected=f"one of {', '.join(KINDS)}", found=repr(kind),
                fix="a vocabulary of another kind cannot be trimmed",
            )  # fmt: skip
        return cls(data, str(path))

    def forget(self) -> None:
        """Give the memory back; nothing can be asked of this afterwards."""
        self.data.clear()
        for name in {*vars(self)} - {one.name for one in fields(self)}:
            del vars(self)[name]

    @property
    def kind(self) -> str:
        """One of :data:`KINDS`."""
        return str(self.data["model"]["type"])

    @cached_property
    def texts(self) -> dict[int, str]:
        """Id -> the token as the model's own vocabulary writes it."""
        vocab = self.data["model"]["vocab"]
        if self.kind == "Unigram":
            return {number: piece for number, (piece, _) in enumerate(vocab)}
        return {number: text for text, number in vocab.items()}

    @cached_property
    def ids(self) -> dict[str, int]:
        """The other way round."""
        return {text: number for number, text in self.texts.items()}

    @cached_property
    def added(self) -> dict[int, str]:
        """Id -> text of the tokens that are found in a text before it is split."""
        return {entry["id"]: entry["content"] for entry in self.data.get("added_tokens") or ()}

    @property
    def known(self) -> frozenset[int]:
        """Every id that stands for something."""
        return frozenset(self.texts) | frozenset(self.added)

    @cached_property
    def reserved(self) -> frozenset[int]:
        """Tokens that are there for somebody to use later, as an added ``<unused7>``."""
        named = (number for number, text in self.added.items() if _RESERVED.search(text))
        return self.unused.union(named)

    @cached_property
    def byte_level(self) -> bool:
        """Whether every character of a token stands for a byte, as in GPT-2."""
        return any(
            "ByteLevel" in _types(self.data.get(part))
            for part in ("pre_tokenizer", "normalizer", "decoder")
        )

    @cached_property
    def bytes(self) -> frozenset[int]:
        """Ids of the single bytes from which anything can be written."""
        if self.byte_level:
            return frozenset(i for i, text in self.texts.items()
                             if len(text) == 1 and text in byte_characters())  # fmt: skip
        if not self.data["model"].get("byte_fallback"):
            return frozenset()
        return frozenset(i for i, text in self.texts.items() if _BYTE.fullmatch(text))

    @property
    def unknown(self) -> int | None:
        """Id that stands for what no token can write."""
        if self.kind == "Unigram":
            found = self.data["model"].get("unk_id")
            return None if found is None else int(found)
        return self.ids.get(str(self.data["model"].get("unk_token")))

    @property
    def others(self) -> str:
        """As what a character is written that has no token: ``single bytes``, from which it comes
        back, the unknown token, or ``nothing``."""
        if self.bytes:
            return "single bytes"
        return "nothing" if self.unknown is None else (self.texts | self.added)[self.unknown]

    def plain(self, token: str) -> str:
        """A token's text without the marks of a word's inside or end."""
        model = self.data["model"]
        prefix = model.get("continuing_subword_prefix") or ""
        suffix = model.get("end_of_word_suffix") or ""
        text = token[len(prefix) :] if prefix and token.startswith(prefix) else token
        return text[: -len(suffix)] if suffix and text.endswith(suffix) else text

    def within(self, characters: frozenset[str]) -> frozenset[int]:
        """Ids of the tokens that can stand in a text of these characters.

        Such a set lacks nothing that its tokens are built from. Reserved tokens are not in it, nor
        single bytes where a token is more than its bytes.
        """
        left = self.reserved | (frozenset() if self.byte_level else self.bytes)
        written = characters | self._normalised(characters)
        fits = _Bytes(written).fit if self.byte_level else written.issuperset
        return self._least | frozenset(
            number
            for number, token in self.texts.items()
            if number not in left and fits(self.plain(token))
        )

    def _normalised(self, characters: frozenset[str]) -> frozenset[str]:
        """What the tokenizer makes of characters before it splits a text: NFKC makes μ of µ."""
        told = {**_NO_TOKENS, "normalizer": self.data.get("normalizer")}
        normalizer = Tokenizer.from_str(json.dumps(told)).normalizer
        if normalizer is None or "ByteLevel" in _types(told["normalizer"]):
            return frozenset()
        return frozenset(normalizer.normalize_str("\n".join(characters)))

    def closed(self, chosen: Iterable[int]) -> frozenset[int]:
        """The ids with all that is needed for text of these tokens to be split as before."""
        found = set(chosen)
        if self.kind == "BPE":
            for number in found - self.added.keys() - self.bytes:
                if number in self.texts:
                    found |= self.merge_trees.nodes(self.texts[number])
        elif self.kind == "Unigram":
            for number in [*found]:
                if number in self.texts and number not in self.bytes:
                    found |= {self.ids[one] for one in self.texts[number] if one in self.ids}
        return self._least | found

    @cached_property
    def _least(self) -> frozenset[int]:
        """Unigram's piece of the lowest score: what cannot be written costs ten more than it."""
        if self.kind != "Unigram":
            return frozenset()
        vocab = self.data["model"]["vocab"]
        return frozenset([min(range(len(vocab)), key=lambda number: vocab[number][1])])

    @cached_property
    def merge_trees(self) -> MergeTrees:
        """Of a BPE vocabulary."""
        model = self.data["model"]
        return MergeTrees(self.ids, map(pair_of, model["merges"]),
                          model.get("continuing_subword_prefix") or "",
                          model.get("end_of_word_suffix") or "")  # fmt: skip


class _Bytes:
    """Whether bytes, each written as a character, are a stretch of the UTF-8 of some text."""

    def __init__(self, characters: frozenset[str]) -> None:
        self._whole = {one.encode(): True for one in characters}
        self._first: set[bytes] = set()
        self._last: set[bytes] = set()
        self._inside: set[bytes] = set()
        for code in self._whole:
            for at in range(1, len(code)):
                self._first.add(code[:at])
                self._last.add(code[at:])
                self._inside.update(code[at:end] for end in range(at + 1, len(code)))

    def fit(self, written: str) -> bool:
        alphabet = byte_characters()
        if not all(one in alphabet for one in written):
            return False
        code = bytes(alphabet[one] for one in written)
        if code in self._inside:
            return True
        begin = next((at for at, one in enumerate(code) if one & 0xC0 != 0x80), len(code))
        if begin and code[:begin] not in self._last:
            return False
        starts = [at for at in range(begin, len(code)) if code[at] & 0xC0 != 0x80]
        ends = [*starts[1:], len(code)]
        parts = [code[start:end] for start, end in zip(starts, ends, strict=False)]
        return all(part in self._whole for part in parts[:-1]) and (
            not parts or parts[-1] in self._whole or parts[-1] in self._first
        )


@cache
def byte_characters() -> Mapping[str, int]:
    """GPT-2's alphabet: character -> the byte it stands for."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + n): b for n, b in enumerate(hidden)}


def _types(part: Any) -> Iterator[str]:
    """Types of a step of a tokenizer, and of the steps inside it."""
    if isinstance(part, dict):
        yield str(part.get("type"))
        for value in part.values():
            yield from _types(value)
    elif isinstance(part, list):
        for value in part:
            yield from _types(value)


def filled(
    vocabulary: Vocabulary, chosen: Collection[int], multiple: int, rows: int
) -> frozenset[int]:
    """The ids and, up to the next multiple, others that need nothing but what is there.

    Reserved tokens come first, then the lowest ids. All of them are tokens of the source: an empty
    row would have the logit 0, which takes the probability where all others are below.

    Args:
        rows: how many the model's embedding has; a token beyond has no row.
    """
    found = set(chosen)
    wanted = -len(found) % multiple
    for number in sorted(vocabulary.known, key=lambda i: (i not in vocabulary.reserved, i)):
        if not wanted:
            break
        if number >= rows or number in found:
            continue
        if vocabulary.closed([number]) - {number} <= found:
            found.add(number)
            wanted -= 1
    return frozenset(found)
