"""A config that promises more than is stored is refused before anything of that size is made."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mwanda import InputError, RunOptions
from mwanda.model import opening as loading
from mwanda.model.opening import open_decoder
from mwanda.model.source import open_model
from tests.support.folders_made import Tiny, copied


def opened(folder: Path) -> None:
    with open_model(folder) as source, open_decoder(source, RunOptions()):
        pass


@pytest.mark.parametrize(
    ("family", "fields", "says"),
    [
        # Its rotary table alone would be 40 GB.
        ("llama", {"head_dim": 10**10}, r"expected shape \[40000000000, 48\]"),
        ("gpt2", {"n_positions": 10**9}, r"wpe.*expected shape \[1000000000, 48\]"),
        ("llama", {"vocab_size": 10**11}, r"embed_tokens.*expected shape \[100000000000, 48\]"),
        ("llama", {"num_hidden_layers": 10**9}, "num_hidden_layers: expected at most the"),
        ("llama", {"num_hidden_layers": 10**5000}, "expected"),
        ("mixtral", {"num_local_experts": 10**9}, "expected at most .* experts"),
    ],
)
def test_sizes_beyond_what_is_stored(
    tiny: Tiny, tmp_path: Path, family: str, fields: dict[str, Any], says: str
) -> None:
    folder = copied(tiny(family), tmp_path / "m")
    config = json.loads((folder / "config.json").read_text()) | fields
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        (folder / "config.json").write_text(json.dumps(config))
    finally:
        sys.set_int_max_str_digits(limit)
    with pytest.raises(InputError, match=says):
        opened(folder)


def test_a_model_as_it_is_stored_is_built_once_where_its_numbers_are_small(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[bool] = []
    real = loading.build_skeleton

    def build(*given: Any, **named: Any) -> Any:
        built.append(named.get("hollow", False))
        return real(*given, **named)

    monkeypatch.setattr(loading, "build_skeleton", build)
    opened(tiny("llama"))
    assert built == [False]
    folder = copied(tiny("llama"), tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 10**6}))
    opened(folder)
    assert built == [False, True, False]
