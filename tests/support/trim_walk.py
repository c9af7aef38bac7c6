"""Every causal class that transformers lists, trimmed: no tensor of the vocabulary is left half."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

import mwanda
from mwanda import MwandaError
from mwanda.pruned.trim.cut import refuse_computed, tables_of
from mwanda.pruned.trim.token_ids import with_ids
from mwanda.pruning.folder.manifest import read_manifest
from tests.support.models import VOCABULARY
from tests.support.shrink import tiny_config
from tests.support.walk import build, load, plain

GOING = 7
"""Reserved tokens after the special ones: all ids behind them become others."""

IDS = torch.tensor([[1, *range(70, 90)]])
"""Of byte tokens, which stay."""


def trimmed(model_type: str, folder: Path) -> tuple[str, str]:
    """Make a tiny model of a class and trim it.

    Returns:
        ``cut`` and which tensors; ``refused`` and why; ``not run`` and what :func:`hollow` says.

    Raises:
        AssertionError: the trim is not the same model with fewer rows.
    """
    source, out = folder / "source", folder / "out"
    try:
        before = plain(build(model_type, source), IDS)
        reserve(source)
    except Exception:  # noqa: BLE001 - a class may need anything
        return "not run", hollow(model_type)
    try:
        made = mwanda.trim(source, out, "de", multiple=1)
    except MwandaError as error:
        assert [one.name for one in folder.iterdir()] == ["source"]
        return "refused", str(error).replace(f"{folder}/", "")
    rows = read_manifest(out).trims[0].old_ids
    assert rows.index(int(IDS[0, -1])) < IDS[0, -1]
    for name, weight in tensors(source).items():
        cut = tensors(out)[name]
        assert torch.equal(cut, weight[list(rows)] if name in made.plan.tensors else weight), name
        assert VOCABULARY not in cut.shape, name
    assert VOCABULARY not in [*numbers(json.loads((out / "config.json").read_text()))]
    left = [name for name, one in load(out).state_dict().items() if VOCABULARY in one.shape]
    assert left == []
    after = plain(out, torch.tensor([[rows.index(int(one)) for one in IDS[0]]]))
    torch.testing.assert_close(after, before[..., list(rows)], rtol=1e-4, atol=1e-4)
    return "cut", ", ".join(made.plan.tensors)


class Within(dict[int, int]):
    """Ids of a vocabulary that is not tiny -> the last one that a tiny one has."""

    def __missing__(self, number: int) -> int:
        return min(number, VOCABULARY - 1)


def reserve(folder: Path) -> None:
    """Shift the ids of a tiny tokenizer's bytes, and add tokens that a trim takes. Ids that the
    config names get a row."""
    for name in ("config.json", "generation_config.json"):
        if (folder / name).is_file():
            told = with_ids(json.loads((folder / name).read_text()), Within())
            (folder / name).write_text(json.dumps(told))
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    vocab = data["model"]["vocab"]
    data["model"]["vocab"] = {t: i if i < 3 else i + GOING for t, i in vocab.items()}
    data["added_tokens"] += [
        {**data["added_tokens"][0], "id": 3 + n, "content": f"<unused{n}>"} for n in range(GOING)
    ]
    path.write_text(json.dumps(data), encoding="utf-8")


def hollow(model_type: str) -> str:
    """What a trim would do to a class of which no tiny model runs, by its config and its tensors
    without memory."""
    why = ""
    for make in (tiny_config, lambda kind: CONFIG_MAPPING[kind]()):
        try:
            config: Any = make(model_type)
            refuse_computed(config)
            with torch.device("meta"):
                made: Any = AutoModelForCausalLM.from_config(config)
            tables = tables_of(made)
        except MwandaError as error:
            return f"refused: {error}"
        except Exception as error:  # noqa: BLE001 - as above
            why = f"{type(error).__name__} {error}"
            continue
        sizes = {*tables.values()}
        left = [n for n, t in made.state_dict().items() if sizes & {*t.shape} and n not in tables]
        return f"refused for {', '.join(left)}" if left else f"cut in {', '.join(tables)}"
    return f"refused, since it cannot be made: {why}"


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {
        name: tensor
        for path in sorted(folder.glob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def numbers(value: Any) -> Iterator[int]:
    """Every whole number in a config."""
    if isinstance(value, dict):
        value = [*value.values()]
    if isinstance(value, list):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield value
