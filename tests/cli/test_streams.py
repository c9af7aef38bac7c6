"""What a terminal or a pipe cannot encode, and what else goes wrong as a result is printed."""

from __future__ import annotations

import json
import sys
from io import BytesIO, TextIOWrapper

import pytest

from mwanda.cli import main
from tests.cli.helpers import Bench


def printed(encoding: str, *words: object) -> str:
    """What a command prints on a stdout of this encoding."""
    raw = BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", TextIOWrapper(raw, encoding=encoding))
        with pytest.raises(SystemExit) as caught:
            main([str(word) for word in words])
        sys.stdout.flush()
        text = raw.getvalue().decode(encoding)
    assert caught.value.code == 0
    return text


def test_what_stdout_cannot_encode_is_escaped(bench: Bench) -> None:
    model = bench.model().rename(bench.root / "élève-жук-🦁")
    words = ["plan", model, "--criterion", "magnitude", "--allocation", "uniform"]
    assert "élève-\\u0436\\u0443\\u043a-\\U0001f981: no text needed" in printed("latin-1", *words)
    assert "élève-жук-🦁: no text needed" in printed("utf-8", *words)
    for encoding in ("latin-1", "utf-8"):
        assert json.loads(printed(encoding, *words, "--json"))["model"] == str(model)
