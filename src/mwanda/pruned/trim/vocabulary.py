"""A tokenizer's vocabulary as ``tokenizer.json`` has it: what each token is made of, and which
tokens of its own it is built from."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from mwanda.errors import InputError

KINDS = ("BPE", "Unigram", "WordPiece")

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_RESERVED = re.compile(r"(unused|reserved)\D*\d+", re.IGNORECASE)


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
        """A model folder's own.

        Raises:
            InputError: no such file, as with a tokenizer that only Python code can read, or one of
                a kind that is not known.
        """
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
        fits = _Bytes(characters).fit if self.byte_level else characters.issuperset
        return self._least | frozenset(
            number
            for number, token in self.texts.items()
            if number not in left and fits(self.plain(token))
        )

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


class MergeTrees:
    """What BPE makes of a token's own text on the way to it.

    The first rule that makes a token is often not the one that is used: most tokens of a large
    vocabulary can be made in several ways, and which one is taken is decided by the order of all
    the rules.
    """

    def __init__(
        self, ids: Mapping[str, int], merges: Iterable[tuple[str, str]], prefix: str, suffix: str
    ) -> None:
        self._ids, self._prefix, self._suffix = ids, prefix, suffix
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}

    def nodes(self, token: str) -> set[int]:
        """Ids of every piece there is at any time while the token's own text is merged."""
        parts = self._letters(token)
        seen = {token, *parts}
        while len(parts) > 1:
            pairs = [self._ranks.get(pair) for pair in pairwise(parts)]
            ranks = [rank for rank in pairs if rank is not None]
            if not ranks:
                break
            at = pairs.index(min(ranks))
            parts[at : at + 2] = [parts[at] + parts[at + 1][len(self._prefix) :]]
            seen.add(parts[at])
        return {self._ids[text] for text in seen if text in self._ids}

    def _letters(self, token: str) -> list[str]:
        """Where merging begins: one character each, marked as inside of or as the end of a word."""
        prefix, suffix = self._prefix, self._suffix
        inside = bool(prefix) and token.startswith(prefix)
        ends = bool(suffix) and token.endswith(suffix)
        text = token[len(prefix) if inside else 0 : len(token) - (len(suffix) if ends else 0)]
        parts = [prefix + one if inside or number else one for number, one in enumerate(text)]
        return [*parts[:-1], parts[-1] + suffix] if parts and ends else parts


def pair_of(merge: Any) -> tuple[str, str]:
    """A rule of BPE, which older files write as one text."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


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
