"""Every causal class streamed as ``from_pretrained`` loads it: heads, float32 parts and outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from mwanda import InputError, RunOptions
from mwanda.evaluation.head import head_losses
from mwanda.model.opening import open_decoder
from mwanda.model.run.block_calls import first_tensor
from mwanda.model.source import open_model
from tests.support.walk import IDS, UNTRIED, build, classes, load, plain, streamed

CAPS: dict[str, Any] = {
    "final_logit_softcapping": 7.3,
    "output_logit_soft_cap": 7.3,
    "logits_soft_cap": 7.3,
    "logit_scale": 0.37,
    "logits_scaling": 3.7,
    "lm_head_multiplier": 1.01,
    "logits_mup_width_multiplier": 3.0,
}
"""Fields that change logits after the head's product, so that leaving one out shows."""

ASKING = {
    "return_dict": False,
    "torchscript": True,
    "use_cache": True,
    "output_hidden_states": True,
    "output_attentions": True,
    "output_router_logits": True,
}
"""Fields that ask a forward for something else beside logits."""

NAMES = [name for name in classes() if name not in UNTRIED]


@pytest.fixture
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    try:
        build(classes()[request.param], folder)
        plain(folder)
    except Exception as error:  # noqa: BLE001 - as where every class is tried
        pytest.skip(f"no tiny model of it runs: {error}")
    return folder


def edit(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | fields))


@torch.no_grad()
def through(folder: Path, dtype: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits in a dtype, losses of the tiles, and losses of those logits: of the same targets."""
    with (
        open_model(folder) as opened,
        open_decoder(opened, RunOptions(compute_dtype=dtype)) as decoder,
    ):
        with decoder.outside(head=False):
            hidden = decoder.embed(IDS)
        for block in decoder.structure.blocks:
            with decoder.block(block.index) as module:
                hidden = decoder.run_block(block.index, module, hidden)
        with decoder.outside(head=True):
            output = decoder.finish(IDS, hidden)
            normed = first_tensor(output).flatten(0, 1)
            logits = decoder.logits(output, normed)
            targets = torch.arange(len(normed)) % logits.shape[-1]
            losses = head_losses(decoder, output, normed, targets)
    own = nn.functional.cross_entropy(logits.float(), targets, reduction="none").double()
    return logits.view(*IDS.shape, -1), losses, own


@pytest.mark.filterwarnings("ignore")  # a class may warn of whatever it likes
@pytest.mark.parametrize("source", NAMES, indirect=True)
def test_a_class_computes_as_it_is_loaded(source: Path) -> None:
    """A stored head that differs, in bf16 and fp16, with caps and scales, whatever is asked for."""
    config = json.loads((source / "config.json").read_text())
    edit(source, **{name: value for name, value in CAPS.items() if name in config})
    model = load(source)
    head = model.get_output_embeddings()
    if head is not None:
        made = 1.7 * head.weight.detach() + 0.1
        head.weight = nn.Parameter(made)
        model.save_pretrained(source)
        edit(source, tie_word_embeddings=True)
        assert torch.equal(load(source).get_output_embeddings().weight, made)
    try:
        torch.testing.assert_close(streamed(source), plain(source), rtol=1e-5, atol=1e-5)
    except InputError:
        return  # the table of classes says why, and another test that it does
    for dtype in ("bfloat16", "float16"):
        try:
            expected = whole(source, dtype)
        except RuntimeError:
            continue  # the class does not run in it
        found, losses, own = through(source, dtype)
        eps = torch.finfo(getattr(torch, dtype)).eps
        torch.testing.assert_close(
            found, expected, rtol=0, atol=2 * eps * float(expected.abs().max())
        )
        torch.testing.assert_close(losses, own, rtol=0, atol=2e-5)
    before = streamed(source)
    edit(source, **ASKING)
    assert torch.equal(streamed(source), before)


@torch.no_grad()
def whole(folder: Path, dtype: str) -> torch.Tensor:
    """Logits of the whole model, as transformers loads it in a dtype."""
    name = json.loads((folder / "config.json").read_text())["architectures"][0]
    model = getattr(transformers, name).from_pretrained(folder, dtype=getattr(torch, dtype))
    logits: torch.Tensor = model.eval()(input_ids=IDS, use_cache=False).logits
    return logits
