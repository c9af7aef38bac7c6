"""What is tried: for each question a short list of variants, every constant written out.

A variant is what it changes in :data:`BASE`, which is m-wanda with the sparsities of its paper,
cwl; ``calibration`` in it changes :data:`CALIBRATION`. All are compared with :data:`REFERENCE`,
wanda on the same languages, uniform. What the library does by default is :data:`DEFAULTS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from studies import SEEN

Fields = dict[str, Any]

FRESH = ["cs", "el", "et", "it", "nl", "pt", "uk", "yo"]
"""Neither calibrated on nor looked at in tuning."""

CALIBRATION: Fields = {"languages": SEEN, "windows": 4, "length": 256}

UNIFORM: Fields = {"name": "uniform"}
WANDA: Fields = {"name": "wanda", "norms": "raw"}
RIA: Fields = {"name": "ria", "power": 1.0, "norms": "raw"}
M_WANDA: Fields = {
    "name": "m-wanda", "dispersion": "variance-ratio", "dispersion_weight": 0.0,
    "activity_weight": 0.5, "activity": "magnitude", "norms": "raw",
}  # fmt: skip
CWL: Fields = {"name": "cwl", "width": 0.04, "direction": "shared-sparser"}
OWL: Fields = {"name": "owl", "width": 0.08, "outlier": 5.0}
NARROW_OWL: Fields = OWL | {"width": 0.04}
ALPHA: Fields = {"name": "alpha", "width": 0.3, "tail": "peak"}
DLP: Fields = {"name": "dlp", "width": 0.15, "centre": "median"}
ADMM: Fields = {"name": "admm", "iterations": 30, "rho": 1.0, "shrinkage": 0.0, "penalty": 0.0}

MEASURED: Fields = {
    "name": "measured", "reach": 0.1, "steps": 2, "windows": 2, "objective": "mean",
    "compare": "every",
}  # fmt: skip
BY_BLOCK: Fields = {"allocation": MEASURED, "allocation_level": "block"}

BY_LINEAR: Fields = {"allocation": MEASURED, "allocation_level": "linear"}
LESSER: Fields = {"steps": 1, "windows": 1}
LESS: Fields = BY_LINEAR | {"allocation": MEASURED | LESSER}
"""Three tenths of the comparisons."""


def by_role(**options: Any) -> Fields:
    """Compared at the target alone, on one window a language."""
    once = {"reach": 0.2, "steps": 1, "windows": 1, "compare": "target"}
    return {"allocation": MEASURED | once | options, "allocation_level": "role"}


LINEAR: Fields = {"allocation_level": "linear"}
REFERENCE: Fields = {"criterion": WANDA, "allocation": UNIFORM}
RIA_UNIFORM: Fields = {"criterion": RIA, "allocation": UNIFORM}
MAGNITUDE: Fields = {"criterion": {"name": "magnitude"}, "allocation": UNIFORM}
NORMALISED: Fields = {"criterion": WANDA | {"norms": "normalised"}, "allocation": UNIFORM}
BASE: Fields = {"criterion": M_WANDA, "allocation": CWL}
DEFAULTS: Fields = BASE | by_role()
"""What the library does where nothing is asked for, where it is dense."""

SEQUENTIAL: Fields = {"mode": "sequential"}
"""Else every variant is dense."""


def criterion(**options: Any) -> Fields:
    """m-wanda with some options changed, the default allocation."""
    return {"criterion": M_WANDA | options}


def m_ria(power: float, **options: Any) -> Fields:
    """The same with relative importance."""
    return criterion(name="m-ria", power=power, **options)


def cwl(width: float, direction: str) -> Fields:
    return {"allocation": CWL | {"width": width, "direction": direction}}


def admm(**options: Any) -> Fields:
    """ADMM on the reference's mask."""
    return REFERENCE | {"reconstruction": ADMM | options}


def sparsegpt(name: str) -> Fields:
    return REFERENCE | {"reconstruction": {"name": name, "damping": 0.01}}


def gradual(**options: Any) -> Fields:
    """ADMM with a mask of its own; the criterion is not looked at."""
    own = {"name": "admm-gradual", "ramp": 15}
    return REFERENCE | {"reconstruction": ADMM | own | options}


def calibrated(languages: list[str], windows: int) -> Fields:
    """The reference on other text."""
    return REFERENCE | {"calibration": {"languages": languages, "windows": windows}}


LONGER: Fields = {"calibration": {"windows": 16}}
LONGEST: Fields = {"calibration": {"windows": 48}}

SHRUNK: Fields = gradual(shrinkage=0.4)
"""The Gram matrix toward its diagonal, as far as helps."""

BEST_BEFORE: Fields = SHRUNK | LONGEST | LESS
BEST: Fields = SHRUNK | LONGEST | by_role()

# How ADMM goes on.
STEPS: Mapping[str, Fields] = {
    "60 iterations, ramp 30": {"iterations": 60, "ramp": 30},
    "ramp 25": {"ramp": 25},
    "ρ = 0.3": {"rho": 0.3},
    "ρ = 3": {"rho": 3.0},
}

# What is tried with it.
MORE: Mapping[str, Fields] = {
    "uniform": {},
    "cwl": {"allocation": CWL},
    "owl": {"allocation": OWL},
    "owl, sequential": {"allocation": OWL} | SEQUENTIAL,
    "dlp": {"allocation": DLP},
    "alpha": {"allocation": ALPHA},
    "sequential": SEQUENTIAL,
}

QUESTIONS: Mapping[str, Mapping[str, Fields]] = {
    "parts": {
        "wanda, uniform": REFERENCE,
        "wanda, cwl": {"criterion": WANDA},
        "m-wanda without activity, cwl": criterion(activity_weight=0.0),
        "m-wanda, uniform": {"allocation": UNIFORM},
        "m-wanda, cwl": {},
    },
    "activity": {
        f"α = {weight:g} by {rule}": criterion(activity_weight=weight, activity=rule)
        for rule, weights in (("magnitude", (0.0, 0.25, 0.5, 1.0, 2.0)), ("sign", (0.5, 1.0)))
        for weight in weights
    },
    "dispersion": {
        "λ = 0": {},
        **{
            f"λ = {weight:g}, {kind}": criterion(dispersion=kind, dispersion_weight=weight)
            for kind in ("variance-ratio", "deviation", "variance")
            for weight in (0.25, 1.0)
            if (kind, weight) != ("variance", 1.0)
        },
    },
    "norms": {
        "wanda, raw": REFERENCE,
        "wanda, normalised": NORMALISED,
        "m-wanda, raw": {},
        "m-wanda, normalised": criterion(norms="normalised"),
        "m-wanda, normalised, λ = 1": criterion(norms="normalised", dispersion_weight=1.0),
    },
    "together": {
        "wanda": REFERENCE,
        "m-wanda, normalised": criterion(norms="normalised"),
        "m-wanda, normalised, by linear": criterion(norms="normalised") | LINEAR,
        "m-wanda, normalised, owl": criterion(norms="normalised") | {"allocation": NARROW_OWL},
        "wanda, normalised, owl": NORMALISED | {"allocation": NARROW_OWL},
        "ria, a = 1, owl": {"criterion": RIA, "allocation": NARROW_OWL},
        "ria, a = 1, cwl": {"criterion": RIA},
        "ria, a = 1, normalised, owl": {"criterion": RIA | {"norms": "normalised"}}
        | {"allocation": NARROW_OWL},
        "m-ria, a = 1, owl": m_ria(1.0) | {"allocation": NARROW_OWL},
        "m-ria, a = 1, normalised, cwl": m_ria(1.0, norms="normalised"),
    },
    "first-token": {
        "wanda, counted": REFERENCE,
        "wanda, left out": REFERENCE | {"skip_first_tokens": 1},
        "m-wanda, counted": {},
        "m-wanda, left out": {"skip_first_tokens": 1},
        "admm-gradual, counted": gradual(),
        "admm-gradual, left out": gradual() | {"skip_first_tokens": 1},
    },
    "cwl": {
        "uniform": {"allocation": UNIFORM},
        **{
            f"±{width:g}, {direction}": cwl(width, direction)
            for direction in ("shared-sparser", "shared-denser")
            for width in (0.02, 0.04, 0.08)
        },
    },
    "allocation": {
        "uniform": {"allocation": UNIFORM},
        "cwl": {},
        "owl": {"allocation": OWL},
        "owl, half as wide": {"allocation": NARROW_OWL},
        "alpha": {"allocation": ALPHA},
        "dlp": {"allocation": DLP},
    },
    "level": {
        "uniform": {"allocation": UNIFORM},
        "cwl, by block": {},
        "cwl, by linear": LINEAR,
        "wanda, cwl, by block": {"criterion": WANDA},
        "wanda, cwl, by linear": {"criterion": WANDA} | LINEAR,
    },
    "criterion": {
        "magnitude": MAGNITUDE,
        "wanda": REFERENCE,
        "ria": {"criterion": {"name": "ria", "power": 0.5, "norms": "raw"}, "allocation": UNIFORM},
        "ria, a = 1": RIA_UNIFORM,
        "m-wanda": {"allocation": UNIFORM},
        "m-ria": m_ria(0.5) | {"allocation": UNIFORM},
        "m-ria, a = 1": m_ria(1.0) | {"allocation": UNIFORM},
    },
    "mode": {
        "wanda, uniform, dense": REFERENCE,
        "wanda, uniform, sequential": REFERENCE | SEQUENTIAL,
        "the defaults, dense": DEFAULTS,
        "the defaults, sequential": DEFAULTS | SEQUENTIAL,
    },
    "gradual": {
        "wanda": REFERENCE,
        "admm-gradual": gradual() | LONGER,
        **{
            f"shrinkage {s:g}, penalty {p:g}": gradual(shrinkage=s, penalty=p) | LONGER
            for s, p in ((0.0, 0.01), *((s, 0.0) for s in (0.05, 0.1, 0.2, 0.4, 0.6)), (0.1, 0.01))
        },
        **{
            f"shrinkage 0.1, {name}": gradual(shrinkage=0.1, **options) | LONGER
            for name, options in STEPS.items()
        },
    },
    "reconstruction": {
        "wanda": REFERENCE,
        "admm": admm(),
        "admm-gradual": gradual(),
        "sparsegpt's update": sparsegpt("sparsegpt-update"),
        "sparsegpt": sparsegpt("sparsegpt"),
    },
    "languages": {
        "15 languages, 4 windows each": REFERENCE,
        "8 languages, 8 windows each": calibrated(SEEN[::2], 8),
        "4 languages, 15 windows each": calibrated(["en", "ru", "zh", "ta"], 15),
        "English, 60 windows": calibrated(["en"], 60),
        "15 languages, 2 windows each": calibrated(SEEN, 2),
        "15 languages, 16 windows each": calibrated(SEEN, 16),
    },
    "measured": {
        "wanda": REFERENCE,
        "by block, every, ±0.1": BY_BLOCK | {"allocation": MEASURED | LESSER},
        "by block, every, ±0.2": BY_BLOCK | {"allocation": MEASURED | LESSER | {"reach": 0.2}},
        **{f"by role, ±{reach:g}": by_role(reach=reach) for reach in (0.1, 0.2, 0.3)},
        "by role, ±0.2, five points": by_role(steps=2),
        "by role, ±0.2, two windows": by_role(windows=2),
        "by role, ±0.2, every": by_role(compare="every"),
        "by role, ±0.2, worst": by_role(objective="worst"),
        "by role, ±0.2, normalised": criterion(norms="normalised") | by_role(),
        "by role, ±0.2, wanda": {"criterion": WANDA} | by_role(),
        "by role, ±0.2, ria, a = 1": {"criterion": RIA} | by_role(),
    },
    "defaults": {
        "wanda, uniform": REFERENCE,
        "m-wanda, the defaults": DEFAULTS,
        "the same, normalised": criterion(norms="normalised") | by_role(),
        "the same, wanda": {"criterion": WANDA} | by_role(),
        "m-wanda, cwl": {},
        "m-wanda, normalised, cwl": criterion(norms="normalised"),
        "m-wanda, uniform": {"allocation": UNIFORM},
        "m-wanda, owl half as wide": {"allocation": NARROW_OWL},
        "m-wanda, alpha": {"allocation": ALPHA},
        "m-wanda, dlp": {"allocation": DLP},
        "m-wanda, cwl shared-denser": cwl(0.04, "shared-denser"),
        "wanda, cwl": {"criterion": WANDA},
        "wanda, normalised": NORMALISED,
        "wanda, first token left out": REFERENCE | {"skip_first_tokens": 1},
        "wanda, English, 60 windows": calibrated(["en"], 60),
        "ria, a = 1, uniform": RIA_UNIFORM,
        "magnitude, uniform": MAGNITUDE,
        "best quality": BEST,
    },
    "combinations": {
        "wanda": REFERENCE,
        "wanda, measured": {"criterion": WANDA} | BY_BLOCK,
        "wanda, measured by linear": {"criterion": WANDA} | BY_LINEAR,
        "wanda, measured by linear, less": {"criterion": WANDA} | LESS,
        "m-wanda, measured by linear, less": LESS,
        "m-wanda, normalised, measured by linear, less": criterion(norms="normalised") | LESS,
        "ria, a = 1, measured by linear, less": {"criterion": RIA} | LESS,
        "admm": admm(),
        "admm-gradual": gradual(),
        "admm-gradual, sequential": gradual() | SEQUENTIAL,
        "admm, 16 windows": admm() | LONGER,
        "admm-gradual, 16 windows": gradual() | LONGER,
        **{
            f"shrunk, 16 windows, {name}": SHRUNK | LONGER | fields for name, fields in MORE.items()
        },
        "shrunk, 48 windows, owl": SHRUNK | LONGEST | {"allocation": OWL},
        "shrunk, 48 windows, measured by linear": SHRUNK | LONGEST | BY_LINEAR,
        "shrunk, 48 windows, measured by linear, less": BEST_BEFORE,
        "shrunk, 48 windows, by role, ±0.2": BEST,
        "shrunk, 48 windows, by role, ±0.2, sequential": BEST | SEQUENTIAL,
    },
}

FINALISTS: Mapping[str, Fields] = {
    "wanda, uniform": REFERENCE,
    "m-wanda, the defaults": DEFAULTS,
    "m-wanda, the defaults, sequential": DEFAULTS | SEQUENTIAL,
    "m-wanda, cwl": {},
    "ria, a = 1, uniform": RIA_UNIFORM,
    "best quality": BEST,
    "best quality before": BEST_BEFORE,
}
"""Run on text that no choice was made on."""
