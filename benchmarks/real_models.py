"""Real models: from their packages to folders, windows of real text and scores."""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import mwanda
from mwanda.cli.demo.packages import KNOWN, assemble, find_weights, licences
from mwanda.evaluation.texts import TextSet
from mwanda.pruning.folder.manifest import MANIFEST
from mwanda.system.output import QUANTISED
from mwanda.text.start import start_of
from mwanda.text.tokens import token_ids
from processes import call

SEEN = ["en", "de", "fr", "es", "ru", "zh", "ja", "ko", "id", "vi", "fi", "ta", "te", "gu", "fa"]
UNSEEN = ["ar", "hi", "sw", "th", "bn", "tr", "he", "pl"]


def add_model_option(parser: argparse.ArgumentParser) -> None:
    """``--model``, one of the known weights."""
    parser.add_argument("--model", choices=list(KNOWN), default="gemma3-270m")


def dense_model(name: str, work: Path) -> Path:
    """The folder ``work/NAME-dense``: the GGUF dequantised to bfloat16, made where it is not yet.

    The terms of the weights are put beside the GGUF and travel with every model made from it.
    """
    weights = find_weights(name)
    folder = work / f"{name}-dense"
    if (folder / MANIFEST).is_file():  # written last, so the folder is whole
        return folder
    gguf = assemble(work / name / weights.file, weights)
    for licence in licences(weights):
        shutil.copyfile(licence, gguf.parent / licence.name)
    options = mwanda.RunOptions(overwrite=True, journal=False)
    mwanda.prune(gguf, out=folder, sparsity=0.0, criterion="magnitude", options=options)
    return folder


def dense_folder(given: argparse.Namespace) -> Path:
    """Gemma 3 270M unpruned: ``--dense`` where it is given."""
    if getattr(given, "dense", None) is not None:
        return Path(given.dense)
    return dense_model("gemma3-270m", given.work)


def pruned_folder(given: argparse.Namespace, pruning: str = "0.5") -> Path:
    """Gemma 3 270M pruned by magnitude to a sparsity or N:M, for what does not depend on which
    weights stay."""
    folder: Path = given.work / f"pruned-{pruning.replace(':', 'of')}"
    if not (folder / MANIFEST).is_file():
        how = "--pattern" if ":" in pruning else "--sparsity"
        call(given, "prune", dense_folder(given), "--out", folder, "--criterion", "magnitude",
             how, pruning, "--json")  # fmt: skip
    return folder


def windows_file(
    given: argparse.Namespace,
    model: Path,
    windows: int = 8,
    length: int = 256,
    languages: Sequence[str] = SEEN,
) -> Path:
    """So many windows of such a length of ``DATA/gnome`` in each language, as one safetensors file
    for a model."""
    path: Path = given.work / f"{model.name}-{len(languages)}x{windows}x{length}.safetensors"
    if not path.is_file():
        call(given, "windows", model, "--out", path, "--calibration", given.data / "gnome",
             "--languages", ",".join(languages), "--windows", windows,
             "--window-length", length, "--json")  # fmt: skip
    return path


def nats_of(folder: Path, texts: TextSet, work: Path) -> dict[str, float]:
    """Language -> nats a sentence under a model; scores are kept in ``work/scores``."""
    found = mwanda.evaluate(folder, texts, cache=work / "scores").languages
    return {tag: one.nll_per_sentence for tag, one in found.items()}


@torch.inference_mode()
def nats_at_first(folder: Path, texts: TextSet) -> dict[str, float]:
    """Language -> nats of a text's first token after the start alone, a mean over texts; 0 under a
    tokenizer without a start, which leaves the first token unscored."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    start = start_of(tokenizer)
    if not start:
        return dict.fromkeys(texts.texts, 0.0)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    nats = -model(torch.tensor([start])).logits[0, -1].log_softmax(-1)
    firsts = {tag: [token_ids(tokenizer, one)[0] for one in of] for tag, of in texts.texts.items()}
    return {tag: float(nats[ids].mean()) for tag, ids in firsts.items()}


def stored_bytes(folder: Path) -> int:
    """Bytes of the weights packed, or in a GGUF file where they were quantised as for one."""
    record = folder / QUANTISED
    if record.is_file():
        return int(json.loads(record.read_text(encoding="utf-8"))["bytes"])
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        return mwanda.pack(folder, Path(work, "packed.mwz")).tensors_stored
