"""A prune with more after it: its output is checked before, and against the model that is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from mwanda.errors import MwandaError
from mwanda.pruned import after_prune
from mwanda.system.run_options import RunOptions


def test_a_hub_id_is_no_folder_that_an_output_lies_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begun(*_: object, **__: object) -> None:
        raise MwandaError("begun")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(after_prune, "plan_trim", begun)
    monkeypatch.setattr(after_prune, "prune_once", begun)
    monkeypatch.setattr(after_prune, "tokenizer_and_context", begun)  # the first to open the model
    with pytest.raises(MwandaError, match=r"^begun$"):
        after_prune.prune_and_trim("org/model", Path("org"), ["de"], options=RunOptions())
    with pytest.raises(MwandaError, match=r"^begun$"):
        after_prune.prune("org/model", out="org", languages=["de"], recover=True)
