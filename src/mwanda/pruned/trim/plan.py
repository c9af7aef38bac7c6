"""What a trim would leave, and what it left: rows, weights and bytes, by script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import regex
from langcodes.data_dicts import LIKELY_SUBTAGS

from mwanda.pruned.trim.vocabulary import Vocabulary, byte_characters
from mwanda.system.shown import Shown

OTHER = "other"


@dataclass(frozen=True, repr=False)
class TrimPlan(Shown):
    """What stays of a vocabulary.

    Attributes:
        model: as the user named it.
        by, languages, scripts: how it was chosen.
        rows, kept: of the tables before and after.
        weights, kept_weights: of the whole model.
        bytes, kept_bytes: of ``stored``: ``its tensors`` in the files of a folder, ``the file``.
        tensors: those that are cut -> how many rows they have.
        table_weights: of these tensors.
        others: as what a character is written that has no token, see
            :attr:`~mwanda.pruned.trim.vocabulary.Vocabulary.others`.
        structural: rows that stay whatever the languages are.
        by_script: script -> its tokens before and after; a token without letters is of Zyyy.
        coverage: language -> texts that chose nothing, and how they fare; empty by script.
    """

    model: str
    by: str
    languages: tuple[str, ...]
    scripts: tuple[str, ...]
    rows: int
    kept: int
    weights: int
    kept_weights: int
    bytes: int
    kept_bytes: int
    tensors: Mapping[str, int]
    table_weights: int
    others: str
    structural: int
    by_script: Mapping[str, tuple[int, int]]
    coverage: Mapping[str, Coverage]
    stored: str = "its tensors"

    def _summary(self) -> str:
        return f"{self.model}, {self.kept:,} of {self.rows:,} rows stay, {self.saved:.1%} saved"

    def _records(self) -> list[dict[str, Any]]:
        return [
            {"script": script, "tokens": before, "kept": after}
            for script, (before, after) in self.by_script.items()
        ]

    @property
    def saved(self) -> float:
        """Share of the model's weights that goes."""
        return 1 - self.kept_weights / self.weights

    @property
    def saved_bytes(self) -> float:
        """Share of its bytes that goes."""
        return 1 - self.kept_bytes / self.bytes

    @property
    def share(self) -> float:
        """Of the model's weights that the vocabulary has."""
        return self.table_weights / self.weights

    def as_dict(self) -> dict[str, Any]:
        shares = {"share": self.share, "saved": self.saved, "saved_bytes": self.saved_bytes}
        return asdict(self) | shares


@dataclass(frozen=True)
class Coverage:
    """How texts of a language are split by the trimmed tokenizer.

    Attributes:
        texts: how many there are.
        same: how many of them have the same tokens as before.
        tokens, kept_tokens: in all of them, before and after.
    """

    texts: int
    same: int
    tokens: int
    kept_tokens: int

    @property
    def share(self) -> float:
        """Of the texts that have the same tokens."""
        return self.same / self.texts if self.texts else 1.0

    @property
    def growth(self) -> float:
        """Tokens after over tokens before."""
        return self.kept_tokens / self.tokens if self.tokens else 1.0


def count_scripts(vocabulary: Vocabulary, kept: Iterable[int]) -> dict[str, tuple[int, int]]:
    """Script -> how many tokens have a letter of it, as the first one that is of one script only,
    before and after."""
    left, alphabet = set(kept), byte_characters() if vocabulary.byte_level else {}
    texts = {}
    for number, token in vocabulary.texts.items():
        plain = vocabulary.plain(token)
        if alphabet:
            code = bytes(alphabet[one] for one in plain if one in alphabet)
            plain = code.decode(errors="ignore")
        texts[number] = plain
    scripts = _scripts({one for text in texts.values() for one in text})
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    for number, text in texts.items():
        found = next((scripts[one] for one in text if scripts[one] != "Zyyy"), "Zyyy")
        before[found] += 1
        after[found] += number in left
    return {script: (count, after[script]) for script, count in before.most_common()}


def _scripts(characters: set[str]) -> dict[str, str]:
    every = "".join(sorted(characters))
    found = dict.fromkeys(every, OTHER)
    found |= dict.fromkeys(regex.findall(r"[\p{Script=Zyyy}\p{Script=Zinh}]", every), "Zyyy")
    codes = {tag.split("-")[1] for tag in LIKELY_SUBTAGS.values()}
    for code in sorted(codes | {"Hira", "Kana", "Hani", "Hang"}):
        try:
            found |= dict.fromkeys(regex.findall(rf"\p{{Script={code}}}", every), code)
        except regex.error:  # Hans, Jpan and the like, which are no single script
            continue
    return found
