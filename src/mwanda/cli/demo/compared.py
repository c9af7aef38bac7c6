"""The three methods that the demo and the benchmarks compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def compared_methods(languages: Sequence[str], windows: int) -> dict[str, dict[str, Any]]:
    """Name -> fields of a recipe: wanda on English alone, wanda and m-wanda on all languages.

    English alone gets as many windows as all languages together, as far as there is English.

    Args:
        languages: that calibrate, English among them.
        windows: of one language.
    """
    wanda = {"criterion": "wanda", "allocation": "uniform"}
    every = list(languages)
    return {
        "wanda, English": {**wanda, "languages": ["en"], "windows": windows * len(every)},
        "wanda, all": {**wanda, "languages": every, "windows": windows},
        "m-wanda": {"languages": every, "windows": windows},
    }
