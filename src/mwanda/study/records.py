"""What a plan is made of: models, points of the report, and cells; and how their keys are made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from mwanda.pruning.recipe.recovery import APART, AfterPrune

DENSE = "dense"
"""Name of the method that does nothing: every model's baseline."""


def key_of(settings: Mapping[str, Any]) -> str:
    """The key of what is decided by these settings."""
    text = json.dumps(settings, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Record(BaseModel):
    """One of them: never changed, nothing in it that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelRecord(Record):
    """A model of the study: where it is, and the SHA-256 of its content."""

    path: str
    sha256: str


class ArtefactRecord(Record):
    """What ships.

    Attributes:
        path, sha256: where it is, and the SHA-256 of its content.
        runtime: what opens it.
        tokenizer: whose ids are scored.
        tokenizer_sha256: None where that is the study's model.
    """

    path: str
    sha256: str
    runtime: str
    tokenizer: str
    tokenizer_sha256: str | None = None


class Entry(Record):
    """One point of the report; several can be the same cell.

    Attributes:
        model: its name.
        method: :data:`DENSE`, or a name from the grid.
        sparsity: asked for.
        seed: None where no text is drawn.
        key: of the cell.
    """

    model: str
    method: str
    sparsity: float
    seed: int | None
    key: str

    @property
    def label(self) -> str:
        if not self.sparsity:
            return f"{self.model}, {self.method}"
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.model}, {self.method}, {self.sparsity:g}{seed}"


class Cell(Record):
    """One prune and its evaluation.

    Attributes:
        settings: all that the result depends on; and names, places and where a recovery logs to,
            which the key leaves out.
        model: its name.
        statistics: key of the saved statistics it uses; None where it uses none.
        loose: what nobody gave of the windows: sizes, which may shrink to context and text, and the
            background, which a file of windows may have, with its sizes.
        artefact: name of the one that is scored; None where the model itself is, or a form of it.
    """

    settings: dict[str, Any]
    model: str
    statistics: str | None = None
    loose: tuple[str, ...] = ()
    artefact: str | None = None

    @property
    def key(self) -> str:
        settings, recipe = dict(self.settings), dict(self.settings["recipe"] or {})
        if recipe.get("recover"):
            recover = {k: v for k, v in recipe["recover"].items() if k not in APART}
            rate = AfterPrune(**recover).default_rate
            recipe["recover"] = recover if rate is None else recover | {"learning_rate": rate}
        if "background" in settings:  # its text says it, wherever it lies
            recipe.pop("background")
        if "artefact" in settings:
            settings.pop("quantised")
        return key_of({**settings, "recipe": recipe or None})
