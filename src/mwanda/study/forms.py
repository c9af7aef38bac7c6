"""What a study measures beside its prunes: a dense model's smaller forms, and what ships."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mwanda.errors import InputError
from mwanda.evaluation.cache import artefact_sha256, parts_of
from mwanda.evaluation.evaluate import evaluate
from mwanda.evaluation.results import Evaluation
from mwanda.evaluation.runtimes.registry import device_of, find_runtime, kind_of
from mwanda.evaluation.texts import TextSet
from mwanda.model.source import open_model
from mwanda.model.stored.reader import Checkpoint
from mwanda.pruned.quantise import quantise
from mwanda.pruned.trim.trim import trim
from mwanda.study.document import TRIMMED, ArtefactPart
from mwanda.study.records import ArtefactRecord
from mwanda.system.run_options import RunOptions

SIZES = ("type", "tensors", "kept", "bytes", "source_bytes", "weights")
"""What a report says of a quantised model."""

WHOLE = ("source_bytes", "weights")
"""Those of the model before a trim."""

WEIGHTS = (".safetensors", ".bin", ".gguf")
"""Files of an artefact that hold weights, but for those of OpenVINO's own tokenizers."""


def small_form(
    name: str, model: str, languages: Sequence[str], scratch: Path, options: RunOptions
) -> tuple[str, dict[str, Any]]:
    """The dense model trimmed, quantised, or both, and what a report says of it."""
    first, _, kind = name.rpartition("+")
    sizes: dict[str, Any] = {"type": name, "tensors": 0, "kept": {}}
    if TRIMMED in (first, kind):
        plan = trim(model, scratch / TRIMMED, list(languages), options=options).plan
        model = str(scratch / TRIMMED)
        sizes |= {"bytes": plan.kept_bytes, "source_bytes": plan.bytes, "weights": plan.weights}
    if kind != TRIMMED:
        made = quantise(model, scratch / "quantised", kind, options=options).as_dict()
        model = str(scratch / "quantised")
        sizes = {n: made[n] for n in SIZES} | {n: sizes[n] for n in WHOLE if n in sizes}
        sizes["type"] = name
    return model, sizes


def look_up_artefact(part: ArtefactPart, model: str, device: str) -> ArtefactRecord:
    """Where an artefact lies, its content, and how it is opened.

    Args:
        model: the study's model whose form it is; its tokenizer is taken where none is named.
    """
    path = Path(part.path)
    if not path.exists():
        raise InputError(part.path, expected="an artefact", found="nothing there")
    runtime = part.runtime or kind_of(part.path) or "transformers"
    find_runtime(runtime)
    if runtime == "openai":
        raise InputError(
            "runtime", expected="one that opens what lies on the disk", found=runtime,
            fix="score a server with mwanda eval --runtime openai",
        )  # fmt: skip
    device_of(runtime, device)
    tokenizer = Path(part.tokenizer or model)
    if part.tokenizer is not None and not tokenizer.exists():
        raise InputError(part.tokenizer, expected="a tokenizer", found="nothing there")
    return ArtefactRecord(
        path=str(path.absolute()), sha256=artefact_sha256(path), runtime=runtime,
        tokenizer=str(tokenizer.absolute()) if tokenizer.exists() else model,
        tokenizer_sha256=None if part.tokenizer is None else artefact_sha256(tokenizer),
    )  # fmt: skip


def artefact_settings(
    name: str, artefact: ArtefactRecord, base: Mapping[str, Any], compute_dtype: str
) -> dict[str, Any]:
    """All that its result depends on.

    Args:
        base: the dense model's; its dtype is that of another forward.
        compute_dtype: of the document.
    """
    asked = artefact.model_dump(exclude={"path", "tokenizer"})
    return {**base, "compute_dtype": compute_dtype, "quantised": name, "artefact": asked}


def score_artefact(
    artefact: ArtefactRecord, texts: TextSet, max_length: int, options: RunOptions
) -> Evaluation:
    """By its runtime."""
    return evaluate(
        artefact.path, texts, max_length=max_length, runtime=artefact.runtime,
        tokenizer=artefact.tokenizer, options=options,
    )  # fmt: skip


def dense_sizes(model: str, options: RunOptions) -> dict[str, int]:
    """Bytes and number of a model's weights as they are stored, by the names of :data:`WHOLE`."""
    with (
        open_model(model, trust_remote_code=options.trust_remote_code) as source,
        Checkpoint.open(source.folder) as checkpoint,
    ):
        return {"source_bytes": checkpoint.nbytes, "weights": checkpoint.numbers}


def weight_bytes(artefact: ArtefactRecord) -> int:
    """Of a file with the other parts of it, or of all files with weights in a folder."""
    path = Path(artefact.path)
    files = parts_of(path) if path.is_file() else [
        one for one in path.iterdir() if one.suffix in WEIGHTS and "tokenizer" not in one.name
    ]  # fmt: skip
    return sum(file.stat().st_size for file in files)
