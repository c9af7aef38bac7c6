"""Every causal class that transformers lists, tried on a tiny model of it: pruned, or why not."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

import mwanda
from mwanda import MwandaError, RunOptions
from mwanda.model.classes import TriedClass
from mwanda.model.opening import open_decoder
from mwanda.model.run.block_calls import first_tensor
from mwanda.model.source import open_model
from mwanda.pruning.folder.manifest import Manifest
from tests.pruning.pipeline.helpers import tensors, windows_object
from tests.support.dense import DENSE_FAMILIES
from tests.support.experts import EXPERT_FAMILIES
from tests.support.models import FAMILIES, VOCABULARY, redraw, tiny_tokenizer
from tests.support.models import tiny_config as family_config
from tests.support.shrink import tiny_config

IDS = torch.randint(3, VOCABULARY, (2, 20), generator=torch.Generator().manual_seed(4))


MOST = 4_000_000
"""Parameters that a tiny model may have; more means that a size was not found."""


_ASSISTANT = "drafts for a larger model, whose keys and values it reads: no language model alone"
_AUDIO = "decodes audio codes inside a larger model: its automatic class cannot build it alone"
UNTRIED: dict[str, str] = {
    "BltForCausalLM": "bytes, patches and blocks have sizes that depend on one another; made small "
    "one by one they do not fit",
    "CohereCompassForCausalLM": "it wants rotary parameters for every kind of layer, which a "
    "config made from sizes lacks",
    "DbrxForCausalLM": "transformers' class asks its own config for a field that is not there",
    "Dots3NoteForCausalLM": "its config sets single layers by number up to 41, so that two layers "
    "cannot be made of it",
    "Gemma3nForConditionalGeneration": "its vision tower comes from the package timm, which is not "
    "installed",
    "Gemma4AssistantForCausalLM": _ASSISTANT,
    "Gemma4UnifiedAssistantForCausalLM": _ASSISTANT,
    "MusicgenForCausalLM": _AUDIO,
    "MusicgenMelodyForCausalLM": _AUDIO,
}
"""Why no tiny model of a class is tried, in words; what was raised is said with it."""

ADVICE = re.compile(r"linear \S+?\.(\w+)\.(\w+): .*leave it out with --exclude")
"""What a refusal says to do about a linear that the forward does not call."""


def classes() -> dict[str, str]:
    """Class name -> the first model type that transformers gives it."""
    found: dict[str, str] = {}
    for kind, name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items():
        found.setdefault(name, kind)
    return dict(sorted(found.items()))


def proven_types() -> set[str]:
    """Model types with a family whose every mask is compared with the float64 oracle's."""
    families = (*FAMILIES, *DENSE_FAMILIES, *EXPERT_FAMILIES)
    return {family_config(family).model_type for family in families}


def tried(name: str, model_type: str, folder: Path) -> TriedClass:
    """Make a tiny model of a class, stream it, prune it and load what was written.

    Raises:
        AssertionError: mwanda gave something else than plain transformers.
    """
    source, out = folder / "source", folder / "out"
    try:
        plain(build(model_type, source))
    except Exception as error:  # noqa: BLE001 - a class may need anything: packages, kernels, other fields
        why = UNTRIED.get(name, "no tiny model of it runs")
        reason = _shortened(f"{why} ({type(error).__name__}: {error})", folder)
        return TriedClass(name, model_type, "not tried", reason)
    without: list[str] = []
    while True:
        try:
            prove(source, out, without)
            break
        except MwandaError as error:
            assert not out.exists()
            advised = ADVICE.search(str(error))
            if advised is None or len(without) == 3:
                return TriedClass(name, model_type, "refused", _shortened(str(error), folder))
            without.append(advised[1] if "attn" in advised[1] else advised[2])
    status = "proven" if model_type in proven_types() else "works"
    note = " ".join(["with", *(f"--exclude {part}" for part in without)]) if without else ""
    return TriedClass(name, model_type, status, note)


def prove(source: Path, out: Path, exclude: Sequence[str] = ()) -> Manifest:
    """Stream a model, prune it and load what was written: all as plain transformers has it.

    Raises:
        AssertionError: it is not.
    """
    before = plain(source)
    torch.testing.assert_close(streamed(source), before, rtol=1e-4, atol=1e-4)
    result = mwanda.prune(
        source,
        out=out,
        calibration=windows_object(),
        criterion="wanda",
        allocation="uniform",
        exclude=list(exclude),
    )
    _check(source, out, result.manifest)
    after = plain(out)
    assert (after - before).abs().max() > 1e-4
    torch.testing.assert_close(streamed(out), after, rtol=1e-4, atol=1e-4)
    return result.manifest


def _check(source: Path, out: Path, manifest: Manifest) -> None:
    """Half of every pruned matrix is zero, and all the rest is the source's, bit for bit."""
    ours, theirs = tensors(out), tensors(source)
    assert list(ours) == list(theirs)
    records = manifest.linears.values()
    assert len(records) > 2
    assert all(record.sparsity > 0.4 for record in records)
    changed = {record.tensor for record in records}
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype
        assert torch.equal(tensor, torch.where(tensor == 0, 0, theirs[name]))
        assert torch.equal(tensor, theirs[name]) is (name not in changed)
    assert not mwanda.verify(out).problems


def build(kind: str, folder: Path) -> Path:
    """Save a tiny random model of one model type, with the tokenizer of all tiny models.

    Raises:
        ValueError: it would not be tiny.
    """
    config = tiny_config(kind)
    with torch.device("meta"):
        size = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    if size > MOST:
        raise ValueError(f"{size:,} parameters in what should be a tiny model")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        redraw(model, 0)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@torch.no_grad()
def streamed(folder: Path, ids: torch.Tensor = IDS) -> torch.Tensor:
    """Logits by the decoder that holds one block at a time."""
    with (
        open_model(folder) as source,
        open_decoder(source, RunOptions(compute_dtype="float32")) as decoder,
    ):
        with decoder.outside(head=False):
            hidden = decoder.embed(ids)
        for block in decoder.structure.blocks:
            with decoder.block(block.index) as module:
                hidden = decoder.run_block(block.index, module, hidden)
        with decoder.outside(head=True):
            output = decoder.finish(ids, hidden)
            normed = first_tensor(output)
            logits = decoder.logits(output, normed.reshape(-1, normed.shape[-1]))
        assert all(parameter.is_meta for parameter in decoder.model.parameters())
        assert not decoder.unread
    return logits.reshape(*ids.shape, -1)


@torch.no_grad()
def plain(folder: Path, ids: torch.Tensor = IDS) -> torch.Tensor:
    """Logits by the class that the folder's config names."""
    model = load(folder)
    logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits
    return logits


def load(folder: Path) -> Any:
    """The whole model, by the class that the folder's config names."""
    name = json.loads((folder / "config.json").read_text())["architectures"][0]
    return getattr(transformers, name).from_pretrained(folder, dtype=torch.float32).eval()


def _shortened(message: str, folder: Path) -> str:
    lines = " ".join(message.replace(f"{folder}/", "").split())
    return lines if len(lines) <= 400 else f"{lines[:397]}..."
