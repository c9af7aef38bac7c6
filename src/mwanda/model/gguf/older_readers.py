"""A folder made of a GGUF file, as transformers before version 5 reads it too.

Version 5 writes rotary positions and the tokenizer's class under names that older ones do not know:
they would take a default base without a word, and refuse the tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

TOKENIZER_CLASS = "PreTrainedTokenizerFast"
"""What both call a tokenizer that ``tokenizer.json`` says all of."""


def write_for_older(folder: Path) -> None:
    """Put into a folder's config and tokenizer config what older versions look for."""
    _change(folder / "config.json", lambda config: config | older_rotary(config))
    _change(
        folder / "tokenizer_config.json", lambda told: told | {"tokenizer_class": TOKENIZER_CLASS}
    )


def older_rotary(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config's rotary positions by their older names; nothing for a config without any."""
    rotary = config.get("rope_parameters") or {}
    nested = isinstance(rotary.get("full_attention"), dict)
    main = rotary["full_attention"] if nested else rotary
    found = {name: main[name] for name in ("rope_theta", "partial_rotary_factor") if name in main}
    if main.get("rope_type", "default") != "default":
        found["rope_scaling"] = {name: value for name, value in main.items() if name not in found}
    windowed = rotary.get("sliding_attention") if nested else None
    if windowed:
        found["rope_local_base_freq"] = windowed["rope_theta"]
    return found


def _change(path: Path, made: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    told = made(json.loads(path.read_text(encoding="utf-8")))
    text = json.dumps(told, indent=2, ensure_ascii=False, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")
