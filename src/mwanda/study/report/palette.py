"""The colours of a report by name, in light and in dark; c0 to c7 are those of methods."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

LIGHT: Mapping[str, str] = MappingProxyType({
    "ground": "#ffffff", "text": "#1b1f24", "soft": "#57606a", "rule": "#d5dbe1",
    "shade": "#f3f5f7", "link": "#0b57a4", "focus": "#0b57a4", "warn": "#fff4d6",
    "c0": "#b34700", "c1": "#0b62a8", "c2": "#0a7a55", "c3": "#9b2f7d",
    "c4": "#6f5a00", "c5": "#4d4dbf", "c6": "#a32020", "c7": "#4a4f55",
})  # fmt: skip
DARK: Mapping[str, str] = MappingProxyType({
    "ground": "#14181d", "text": "#e8ecf0", "soft": "#a9b4bf", "rule": "#38414a",
    "shade": "#1d232a", "link": "#7ab8ff", "focus": "#ffd166", "warn": "#3a2f10",
    "c0": "#ff9e5e", "c1": "#64b5f6", "c2": "#4fd1a1", "c3": "#f093d4",
    "c4": "#e0c34a", "c5": "#a9a9ff", "c6": "#ff8a8a", "c7": "#c3cad1",
})  # fmt: skip

METHODS = 8
"""Colours of methods; a ninth has the first again, with another shape."""
