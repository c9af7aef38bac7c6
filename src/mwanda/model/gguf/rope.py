"""Rotary positions of a GGUF file, which transformers reads the base of and nothing else.

The scaling stands there in fields (linear, YaRN) or in tensors of factors, one for each frequency
(Llama 3, Phi-3), from which the numbers of a config are found again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mwanda.errors import InputError
from mwanda.model.gguf.header import ORIGINAL, GgufHeader

SCALING = ("rope.scaling.", "rope.scale_linear")

CLOSE = 1e-5
"""Relative error of a factor found again; the file holds float32."""

FREQUENCIES = "rope_freqs.weight"
LONG, SHORT = "rope_factors_long.weight", "rope_factors_short.weight"

YARN = {"rope.scaling.yarn_beta_fast": "beta_fast", "rope.scaling.yarn_beta_slow": "beta_slow"}
KNOWN = {
    "rope.scaling.type", "rope.scaling.factor", "rope.scaling.original_context_length",
    "rope.scaling.attn_factor", "rope.scaling.finetuned", "rope.scale_linear", "rope.freq_base",
    "rope.freq_base_swa", "rope.dimension_count", "rope.dimension_count_swa", *YARN,
}  # fmt: skip


def rotary_fields(header: GgufHeader, made: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """What to add to a config that was made without it, by the names its class takes; and the
    tensors it was found in."""
    there = {name for name in (FREQUENCIES, LONG, SHORT) if name in header.names}
    there |= {name for name in header.names if name.endswith(f".{FREQUENCIES}")}
    rotary = getattr(made, "rope_parameters", None)
    if rotary is None:
        return {}, frozenset()
    nested = "full_attention" in rotary
    main = rotary["full_attention"] if nested else rotary
    read = KNOWN | ({"rope.dimension_sections"} if "mrope_section" in main else set())
    for name, value in header.own.items():
        if name.startswith("rope.") and name not in read:
            raise _lost(header, f"{header.architecture}.{name} = {value}")
    added = _base(header, rotary, main, nested) | _width(header, made, main)
    scaling = _scaling(header, made, main, added)
    if scaling is None or all(main.get(name) == value for name, value in scaling.items()):
        return added, frozenset(there)
    original = "original_max_position_embeddings"
    if original in scaling and hasattr(made, original):  # where a class keeps it once more
        added[original] = scaling[original]
    return added | {"rope_scaling": scaling}, frozenset(there)


def _factors(header: GgufHeader, name: str) -> list[float] | None:
    """The numbers in a tensor, None where there is none; the layers' own are all the same."""
    held = [t for t in header.tensors if t.name == name or t.name.endswith(f".{name}")]
    if not held:
        return None
    from gguf.quants import dequantize

    read = [dequantize(t.open(header.path), t.kind).reshape(-1).tolist() for t in held]
    if any(one != read[0] for one in read):
        raise _lost(header, f"other {name} in every layer")
    found: list[float] = read[0]
    return found


def _lost(header: GgufHeader, found: str) -> InputError:
    expected = "a scaling of rotary frequencies that a transformers config can hold"
    what = f"{header.path}: rotary positions"
    return InputError(what, expected=expected, found=found, fix=ORIGINAL)


def _base(header: GgufHeader, rotary: Any, main: Any, nested: bool) -> dict[str, Any]:
    base, windowed = header.own.get("rope.freq_base"), header.own.get("rope.freq_base_swa")
    if windowed is not None:
        other = rotary.get("sliding_attention", main) if nested else main
        if not math.isclose(windowed, other["rope_theta"], rel_tol=1e-6):
            found = f"a base of {windowed} in a window, {other['rope_theta']} in its class"
            raise _lost(header, found)
    if base is None or math.isclose(base, main["rope_theta"], rel_tol=1e-6):
        return {}
    return {"rope_theta": base}


def _width(header: GgufHeader, made: Any, main: Any) -> dict[str, Any]:
    """How much of a head turns."""
    dimensions = header.own.get("rope.dimension_count")
    if dimensions is None or dimensions == _turning(made, main):
        return {}
    own = getattr(made, "rotary_dim", None)
    if own == dimensions or getattr(made, "global_head_dim", None) == dimensions:
        return {}
    if main.get("partial_rotary_factor") is None:
        raise _lost(header, f"{dimensions} of {_head(made)} dimensions of a head that turn")
    return {"partial_rotary_factor": dimensions / _head(made)}


def _head(made: Any) -> int:
    return int(getattr(made, "head_dim", None) or made.hidden_size // made.num_attention_heads)


def _turning(made: Any, main: Any) -> int:
    part = main.get("partial_rotary_factor")
    return int(_head(made) * (1.0 if part is None else part))


def _scaling(header: GgufHeader, made: Any, main: Any, added: Any) -> dict[str, Any] | None:
    """The scaling as a config has it, None for none."""
    said, base = header.own, float(added.get("rope_theta", main["rope_theta"]))
    kind = said.get("rope.scaling.type") or None
    factor = said.get("rope.scaling.factor") or said.get("rope.scale_linear") or 1.0
    original = said.get("rope.scaling.original_context_length")
    long, short, each = (_factors(header, name) for name in (LONG, SHORT, FREQUENCIES))
    stretch = said.get("rope.scaling.attn_factor")
    if long is not None or short is not None or kind == "longrope":
        return _long(header, long, short, original, stretch)
    if stretch not in (None, 0.0, 1.0):
        raise _lost(header, f"attention stretched by {stretch}")
    found = None
    if kind == "yarn":
        found = {
            "rope_type": "yarn",
            "factor": factor,
            "original_max_position_embeddings": original or made.max_position_embeddings,
        } | {name: said.get(key) for key, name in YARN.items() if said.get(key) is not None}
    elif kind in (None, "linear"):
        found = None if factor == 1.0 else {"rope_type": "linear", "factor": factor}
    elif kind != "none":
        raise _lost(header, f"type {kind}")
    if each is None or all(one == 1.0 for one in each):
        return found
    if found is not None or 2 * len(each) != _turning(made, main | added):
        beside = found or "other dimensions"
        raise _lost(header, f"{len(each)} factors of their own, beside {beside}")
    return _fitted(header, each, base)


def _long(
    header: GgufHeader, long: Any, short: Any, original: int | None, stretch: float | None
) -> dict[str, Any]:
    if long is None or short is None or original is None:
        found = "factors for long or short text, and not both with the context they part at"
        raise _lost(header, found)
    scaling = {
        "rope_type": "longrope",
        "long_factor": long,
        "short_factor": short,
        "original_max_position_embeddings": original,
    }
    return scaling if stretch in (None, 0.0) else scaling | {"attention_factor": stretch}


def _fitted(header: GgufHeader, each: Sequence[float], base: float) -> dict[str, Any]:
    """Llama 3's numbers from the factors they made: short waves stay, long ones are stretched.

    Between them 1 / factor is a straight line over 1 / wavelength, which two numbers fix; of the
    three in a config one is free, and is 1 as in every Llama.
    """
    factor = max(each)
    if all(math.isclose(one, factor, rel_tol=CLOSE) for one in each):
        return {"rope_type": "linear", "factor": factor}
    turns = np.array([base ** (-i / len(each)) / (2 * math.pi) for i in range(len(each))])
    stored = np.array(each)
    between = (stored > 1 + CLOSE) & (stored < factor * (1 - CLOSE))
    tried = [(1.0, 4.0, 8192)]
    if np.count_nonzero(between) > 1:
        share = (1 / stored[between] - 1 / factor) / (1 - 1 / factor)
        slope, start = np.polyfit(turns[between], share, 1)
        if start < 0:
            high = 1 - 1 / start
            tried.append((1.0, round(high, 3), round(slope * (high - 1))))
            tried.append((1.0, high, round(slope * (high - 1))))
    for low, high, context in tried:
        smooth = np.clip((context * turns - low) / (high - low), 0, 1)
        if np.allclose(1 / ((1 - smooth) / factor + smooth), stored, rtol=CLOSE, atol=0):
            return {
                "rope_type": "llama3",
                "factor": round(factor, 5),
                "low_freq_factor": float(low),
                "high_freq_factor": float(high),
                "original_max_position_embeddings": context,
            }
    raise _lost(header, f"{FREQUENCIES} of {min(each):g} to {factor:g} that no scaling makes")
