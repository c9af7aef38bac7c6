"""A cell: one prune and its evaluation, kept in a small file named by the hash of its settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grids import BASE, CALIBRATION, FRESH, UNIFORM, Fields
from studies import SEEN, UNSEEN

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Text:
    """What is scored: a folder of the data, ids from ``first`` to ``last``, a seeded subset."""

    source: str
    languages: tuple[str, ...]
    sentences: int
    ids: tuple[int, int | None] | None
    seed: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "languages": list(self.languages),
            "sentences": self.sentences,
            "ids": None if self.ids is None else list(self.ids),
            "seed": self.seed,
        }


TUNING = Text("flores", (*SEEN, *UNSEEN), 12, (0, 999))
SCORED_IN = "bfloat16"
"""The dtype a model is scored in where none is named, the dense one as the pruned ones; pruning is
in float32."""


def confirming(sentences: int) -> list[Text]:
    """Text that no constant was chosen on: other articles, another kind, more languages."""
    every = (*SEEN, *UNSEEN, *FRESH)
    return [
        Text("flores", every, sentences, (1000, None)),
        Text("udhr", tuple(tag for tag in every if tag != "et"), sentences, None),
    ]


@dataclass(frozen=True)
class Cell:
    """Attributes:
    settings: all that decides the result: model, text, dtype, recipe and calibration; the last two
        are None for the dense model.
    """

    settings: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        model: str,
        text: Text,
        variant: Mapping[str, Any],
        seed: int,
        *,
        scored_in: str = SCORED_IN,
        **fields: Any,
    ) -> Cell:
        """A variant of the defaults; ``fields`` are the sparsity, or the pattern, with which every
        allocation is uniform."""
        recipe = BASE | dict(variant) | fields
        if "pattern" in fields:
            recipe["allocation"] = UNIFORM
        calibration = CALIBRATION | recipe.pop("calibration", {}) | {"seed": seed}
        return cls._of(model, text, scored_in, recipe, calibration)

    @classmethod
    def dense(cls, model: str, text: Text, *, scored_in: str = SCORED_IN) -> Cell:
        return cls._of(model, text, scored_in, None, None)

    @classmethod
    def _of(cls, model: str, text: Text, scored_in: str, recipe: Any, calibration: Any) -> Cell:
        return cls({"model": model, "text": text.as_dict(), "scored_in": scored_in,
                    "recipe": recipe, "calibration": calibration})  # fmt: skip

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()[:16]

    def path(self, folder: Path) -> Path:
        return folder / f"{self.key}.json"

    def read(self, folder: Path) -> dict[str, Any] | None:
        """What was measured, None where it was not."""
        path = self.path(folder)
        if not path.is_file():
            return None
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def write(self, folder: Path, found: Mapping[str, Any]) -> None:
        """Keep what was measured: whole, or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        partial = self.path(folder).with_suffix(".partial")
        partial.write_text("\n".join(_lines({"settings": self.settings} | dict(found))) + "\n")
        partial.replace(self.path(folder))


def distinct(variants: Mapping[str, Fields], fields: Mapping[str, Any]) -> dict[str, Fields]:
    """The variants that differ under ``fields``: with a pattern every allocation is uniform."""
    if "pattern" not in fields:
        return dict(variants)
    first: dict[str, str] = {}
    for name, variant in variants.items():
        recipe = BASE | dict(variant) | {"allocation": UNIFORM, "allocation_level": "block"}
        first.setdefault(json.dumps(recipe, sort_keys=True), name)
    return {name: variants[name] for name in first.values()}


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    """JSON, one line a language."""
    rest = {name: value for name, value in found.items() if name != "languages"}
    head = json.dumps(rest, ensure_ascii=False)
    rows = [f'"{tag}": {json.dumps(values)}' for tag, values in found["languages"].items()]
    yield head[:-1] + ', "languages": {'
    yield ",\n".join(rows)
    yield "}}"
