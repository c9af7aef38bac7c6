"""What text a model was calibrated on, by every prune that it has been through.

A prune reads it of its source and hands it on, so that text is known again however many prunes ago
it was drawn, and a language stays one that was seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mwanda.errors import InputError, first_problem
from mwanda.pruning.folder.manifest import find_manifest
from mwanda.pruning.folder.manifest_records import CalibrationRecord
from mwanda.system.output import QUANTISED

Calibrations = tuple[CalibrationRecord, ...]

KnownText = CalibrationRecord | Sequence[CalibrationRecord] | None
"""As a caller gives it: of one prune, of several, or nothing."""

ATTRIBUTE = "mwanda_calibrations"
"""Of a model in memory."""


def records(*given: KnownText) -> Calibrations:
    """All of them in order, each once."""
    found: list[CalibrationRecord] = []
    for one in given:
        several: Iterable[Any] = (one,) if isinstance(one, CalibrationRecord) else one or ()
        for record in several:
            if not isinstance(record, CalibrationRecord):
                expected, kind = "result.manifest.calibrations of a prune", type(record).__name__
                raise InputError("calibration", expected=expected, found=kind)
            if record not in found:
                found.append(record)
    return tuple(found)


def known_in_folder(folder: Path) -> Calibrations:
    """What a model folder says of itself; nothing for one that mwanda did not write."""
    manifest = find_manifest(folder)
    if manifest is not None:
        return manifest.calibrations
    path = folder / QUANTISED
    if not path.is_file():
        return ()
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return TypeAdapter(Calibrations).validate_python(data.get("calibrations", ()))
    except ValidationError as error:
        found = first_problem(error)[1]
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        found = str(error)[:200]
    raise InputError(
        str(path),
        expected="what mwanda quantise wrote",
        found=found,
        fix="quantise the model again",
    )


def known_in_memory(model: Any) -> Calibrations:
    """What is known of a model in memory: by a prune in memory, and by the folder that it was
    loaded from."""
    folder = Path(str(getattr(model, "name_or_path", "") or "."))
    loaded = known_in_folder(folder) if folder != Path() and folder.is_dir() else ()
    return records(loaded, getattr(model, ATTRIBUTE, ()))


def remember(model: Any, known: Calibrations) -> None:
    """Let a model in memory know what it was calibrated on."""
    setattr(model, ATTRIBUTE, known)
