"""A model loaded whole, for what cannot be done block by block: generation, other libraries."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mwanda.errors import InputError
from mwanda.model.given import check_model
from mwanda.model.opening import resolve_dtype, source_dtype
from mwanda.model.run.in_memory import model_given
from mwanda.model.run.skeleton import auto_class, load_config
from mwanda.model.source import load_tokenizer, open_model
from mwanda.model.stored.quantised import refuse_quantised
from mwanda.model.stored.reader import Checkpoint
from mwanda.pruning.folder.known_text import (
    Calibrations,
    KnownText,
    known_in_folder,
    known_in_memory,
    records,
)
from mwanda.pruning.forecast.memory import available_memory
from mwanda.pruning.given_arguments import no_tokenizer, tokenizer_given
from mwanda.system.device import choose_device
from mwanda.system.run_options import RunOptions
from mwanda.system.surroundings import building

log = logging.getLogger("mwanda")


@contextmanager
def opened_whole(
    model: Any,
    tokenizer: Any,
    calibration: KnownText,
    options: RunOptions,
    *,
    refuse: Callable[[Calibrations], None],
    verb: str,
) -> Iterator[tuple[Any, Any, str]]:
    """A model whole in memory, its tokenizer, and its name.

    Args:
        model: a folder, GGUF file or hub id; or a transformers model in memory with ``tokenizer``.
        calibration: what is known beside what the model itself tells, see
            :func:`mwanda.evaluation.evaluate.evaluate`.
        refuse: is given what calibrated the model before anything is loaded.
        verb: what the model is wanted for.
    """
    if not isinstance(model, str | Path):
        tokenizer = tokenizer_given(tokenizer, options)
        model = model_given(model)
        refuse(records(calibration, known_in_memory(model)))
        name = str(getattr(model.config, "_name_or_path", "") or type(model).__name__)
        yield model, tokenizer, name
        return
    no_tokenizer(tokenizer)
    check_model(model)
    with (
        tempfile.TemporaryDirectory(prefix="mwanda-") as made,
        open_model(str(model), Path(made), trust_remote_code=options.trust_remote_code) as source,
    ):
        refuse(records(calibration, known_in_folder(source.folder)))
        device = choose_device(options.device)
        dtype = _dtype(source.folder, device, options)
        tokenizer = load_tokenizer(source.folder, trust_remote_code=options.trust_remote_code)
        if not fits_whole(source.folder, dtype):
            raise InputError(
                str(model), expected="a model that fits in memory whole",
                found="a larger one", fix=f"{verb} on a machine with more memory",
            )  # fmt: skip
        yield load_whole(source.folder, dtype, device, options), tokenizer, str(model)


def fits_whole(folder: Path, dtype: torch.dtype) -> bool:
    """Whether the model can be loaded whole for generation; says so when it cannot."""
    with Checkpoint.open(folder) as checkpoint:
        needed = checkpoint.numbers * dtype.itemsize
    free = available_memory()
    if free is None or needed * 1.2 < free:
        return True
    log.warning(
        "left out: the whole model takes %.1f GB, %.1f GB are free", needed / 1e9, free / 1e9
    )
    return False


def load_whole(folder: Path, dtype: torch.dtype, device: torch.device, options: RunOptions) -> Any:
    config = load_config(folder, trust_remote_code=options.trust_remote_code)
    with _without_adapter(folder) as bare, building():
        model = auto_class(config).from_pretrained(
            bare, dtype=dtype, trust_remote_code=options.trust_remote_code, local_files_only=True
        )
    model.name_or_path = model.config.name_or_path = str(folder)
    return model.to(device).eval()


@contextmanager
def _without_adapter(folder: Path) -> Iterator[Path]:
    """The folder without an adapter that lies beside the weights: where peft is installed,
    transformers would put it on top of weights that it was merged into."""
    if not (folder / "adapter_config.json").exists():
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="mwanda-") as made:
        bare = Path(made) / folder.resolve().name
        bare.mkdir()
        for path in folder.iterdir():
            if not path.name.startswith("adapter_"):
                (bare / path.name).symlink_to(path.resolve())
        yield bare


def _dtype(folder: Path, device: torch.device, options: RunOptions) -> torch.dtype:
    """float32 on a CPU unless asked otherwise, as an evaluation computes."""
    with Checkpoint.open(folder) as checkpoint:
        refuse_quantised(checkpoint)
        return resolve_dtype(source_dtype(checkpoint), device, options, measuring=True)
