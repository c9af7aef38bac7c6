"""What transformers' Trainer and accelerate would refuse late, or do otherwise, told at once."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mwanda.errors import InputError, nearest
from mwanda.pruning.recipe.recovery import Settings
from mwanda.system.extras import need

SPLITTING = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}
"""Variables by which ``accelerate launch`` has weights split among processes."""

_YES = {"1", "true", "yes", "on", "y", "t"}
"""What accelerate takes for yes."""


def check_settings(settings: Settings) -> None:
    """Refuse settings that need a library that is not there, and an environment that splits.

    Raises:
        InputError: one of these.
    """
    if settings.optimizer == "adam-8bit":
        need("bitsandbytes", "--optimizer adam-8bit", "recover-8bit")
    refuse_split_weights()
    check_reporters(settings.report_to)


def refuse_split_weights() -> None:
    """Refuse to run where accelerate would split the weights: zeros, the state that is kept and
    what is written need them whole.

    Raises:
        InputError: FSDP or DeepSpeed asked for in the environment.
    """
    for variable, name in SPLITTING.items():
        if os.environ.get(variable, "").lower() in _YES:
            raise InputError(
                variable, expected="a recovery in which every process holds the whole model",
                found=name, fix="run it by torchrun, or by accelerate launch without it",
            )  # fmt: skip


def check_reporters(names: Sequence[str]) -> None:
    """Refuse a logger that the Trainer does not know, or whose library is not there: it would do so
    after the dense model's pass.

    Raises:
        InputError: one that cannot be used.
    """
    if not names or tuple(names) in (("all",), ("none",)):
        return  # the Trainer takes what there is
    from transformers.integrations import integration_utils as known

    for name in names:
        try:
            for logger in known.get_reporting_integration_callbacks([name]):
                logger()
        except ValueError as error:
            raise InputError(
                "--report-to", expected="what transformers' Trainer can log to", found=repr(name),
                fix=nearest(name, known.INTEGRATION_TO_CALLBACK),
            ) from error  # fmt: skip
        except (RuntimeError, ImportError) as error:
            install = "pip install tensorboard" if name == "tensorboard" else "install it"
            raise InputError(
                f"--report-to {name}", expected="its library", found=str(error),
                fix=f"{install}, or leave --report-to {name} out",
            ) from error  # fmt: skip
