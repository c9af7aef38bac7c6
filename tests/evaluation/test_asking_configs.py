"""A config that asks for tuples, caches, hidden states or scores changes nothing."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

import mwanda
from mwanda import RunOptions
from mwanda.evaluation.decode import continue_ids
from mwanda.evaluation.texts import TextSet
from tests.pruning.pipeline.helpers import (
    memory_masks,
    same_masks,
    shard_bytes,
    windows_file,
    windows_object,
)
from tests.support.folders_made import Tiny

ASKING: dict[str, Any] = {
    "return_dict": False,
    "torchscript": True,
    "use_cache": False,
    "output_hidden_states": True,
    "output_attentions": True,
    "output_router_logits": True,
}
SCORES: dict[str, Any] = {
    "return_dict_in_generate": True,
    "output_scores": True,
    "output_logits": True,
    "output_hidden_states": True,
}
TEXTS = TextSet("made up", {"de": ["Alle Menschen sind frei und gleich."]}, None, "0" * 64)
FAMILIES = ["llama", "gpt2", "mixtral", "bloom"]


def told(path: Path, fields: dict[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.fixture(params=FAMILIES)
def pair(request: pytest.FixtureRequest, tiny: Tiny, tmp_path: Path) -> tuple[Path, Path]:
    """A model, and the same with configs that ask for everything."""
    source, asking = tiny(request.param), tmp_path / "asking"
    shutil.copytree(source, asking)
    told(asking / "config.json", ASKING)
    told(asking / "generation_config.json", SCORES)
    return source, asking


@pytest.mark.filterwarnings("ignore")  # transformers: output_attentions needs eager attention
def test_folders(pair: tuple[Path, Path], tmp_path: Path) -> None:
    written, scores = [], []
    for folder in pair:
        out = tmp_path / f"out-{folder.name}"
        mwanda.prune(folder, out=out, calibration=windows_file(tmp_path), sparsity=0.5)
        written.append(shard_bytes(out))
        found = mwanda.evaluate(
            folder, TEXTS, continuations=True, options=RunOptions(allow_overlap=True)
        )
        scores.append((found.languages, found.continuations))
    assert written[0] == written[1]
    assert scores[0] == scores[1]
    assert scores[0][1]


@pytest.mark.filterwarnings("ignore")
def test_in_memory(pair: tuple[Path, Path]) -> None:
    plain, asking = (AutoModelForCausalLM.from_pretrained(folder).eval() for folder in pair)
    asking.config.return_dict = False  # a setter of this class undoes it on the way
    before = copy.deepcopy(vars(asking.config))
    tokenizer = AutoTokenizer.from_pretrained(pair[0])
    results = []
    for model in (plain, asking):
        mwanda.prune(model, calibration=windows_object(), sparsity=0.5)
        found = mwanda.evaluate(model, TEXTS, tokenizer=tokenizer, continuations=True)
        more = continue_ids(model, tokenizer, [[1, 5, 9], [1, 7]], [4, 6])
        results.append((found.languages, found.continuations, more))
    same_masks(memory_masks(plain), memory_masks(asking))
    assert results[0] == results[1]
    assert vars(asking.config) == before
