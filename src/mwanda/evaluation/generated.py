"""What can be told of generated text without a reference: whether it repeats itself, and in which
language it is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from mwanda.errors import InputError
from mwanda.system.extras import need
from mwanda.system.shown import AsDict
from mwanda.text.languages import canonical

GRAM = 4
"""Characters of one sequence that is counted."""

DEGENERATE = 0.5
"""A text repeats itself where more than this share of its sequences stood in it before."""

BESIDE = {"nn": ("no",)}
"""Languages that py3langid has under a label beside their own: its Norwegian is of both kinds."""

WITHIN = {"quy": "qu", "pbt": "ps"}
"""Those that it has as a wider one only. Of other kinds of a wider language, as of Sorani, it says
another's label, so that nothing can be told."""


@dataclass(frozen=True)
class Checked(AsDict):
    """Texts that should all be in one language.

    Attributes:
        texts: how many there are.
        empty: of them, those without a letter; they count for nothing below.
        repetitive: share of the others of which more than half is repetition.
        other_language: share of the others in another language; None where py3langid does not
            know the one they should be in.
    """

    texts: int
    empty: int
    repetitive: float
    other_language: float | None


def repeated_share(text: str) -> float:
    """Share of a text's sequences of 4 characters that stand in it before, from 0 to 1.

    Characters and not words, so that it means the same in scripts without spaces. A run of spaces
    counts as one. A text shorter than one sequence has none.
    """
    one = " ".join(text.split())
    grams = [one[place : place + GRAM] for place in range(len(one) - GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE)


class LanguageCheck:
    """py3langid, a naive Bayes classifier over bytes (https://pypi.org/project/py3langid), loaded
    once. It errs on short texts and between close languages: what it says of texts that people
    wrote belongs beside what it says of a model's.
    """

    def __init__(self) -> None:
        need("py3langid", "the check of languages", "translation")
        self._identifier = _identifier()
        self._labels: dict[str, tuple[str, ...]] = {}
        for label in self._identifier.labels:
            with suppress(InputError):  # one stands for text in no language
                tag = canonical(label)
                self._labels[tag] = (*self._labels.get(tag, ()), label)

    def labels(self, tag: str) -> tuple[str, ...]:
        """What it calls a language; empty where it does not know it."""
        primary = tag.split("-")[0]
        own = self._labels.get(WITHIN.get(primary, primary), ())
        return (*own, *BESIDE.get(primary, ()))

    def name(self, text: str) -> str:
        """The language a text is most probably in."""
        return str(self._identifier.classify(text)[0])

    def is_other(self, text: str, tag: str) -> bool | None:
        """Whether a text is in another language than it should be; None of an unknown one."""
        labels = self.labels(tag)
        return None if not labels else self.name(text) not in labels


def check_generated(texts: Sequence[str], tag: str, check: LanguageCheck) -> Checked:
    """Look at texts that should be in the language ``tag``."""
    told = [text for text in texts if any(letter.isalpha() for letter in text)]
    count = max(1, len(told))
    other = None
    if check.labels(tag):
        other = sum(bool(check.is_other(text, tag)) for text in told) / count
    repetitive = sum(repeated_share(text) > DEGENERATE for text in told) / count
    return Checked(len(texts), len(texts) - len(told), repetitive, other)
