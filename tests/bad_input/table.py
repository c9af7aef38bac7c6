"""Every input that is wrong, what is wrong with it, what is said of it, and the exit code.

A new one goes into the list of its kind; nothing else has to be written.
"""

from __future__ import annotations

from tests.bad_input.calls import CALLS
from tests.bad_input.case import Case
from tests.bad_input.models import MODELS
from tests.bad_input.options import COMMANDS, OPTIONS
from tests.bad_input.outputs import OUTPUTS
from tests.bad_input.recipes import RECIPES
from tests.bad_input.recoveries import RECOVERIES
from tests.bad_input.saved import SAVED
from tests.bad_input.scores import SCORES
from tests.bad_input.texts import TEXTS
from tests.bad_input.trims import TRIMS

__all__ = ["CASES"]

CASES: tuple[Case, ...] = (
    *COMMANDS, *OPTIONS, *RECIPES, *MODELS, *TEXTS, *SAVED, *SCORES, *OUTPUTS, *TRIMS,
    *RECOVERIES, *CALLS,
)  # fmt: skip
