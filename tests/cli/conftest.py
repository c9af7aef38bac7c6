"""The command line inside this process, on a tiny model and made-up text of two languages."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.helpers import Bench
from tests.support.text import write_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of German and Swahili. Do not write in it."""
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, ["de", "sw"], lines=60)
    return folder


@pytest.fixture(scope="session")
def other_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other text of those languages and of French. Do not write in it."""
    folder = tmp_path_factory.mktemp("other")
    write_corpus(folder, ["de", "sw", "fr"], lines=5, seed=3)
    return folder


@pytest.fixture
def as_it_was() -> Iterator[None]:
    """What a command changes in its process is put back."""
    environment, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
    level = logging.getLogger("mwanda").level
    yield
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGTERM, handler)
    logging.getLogger("mwanda").setLevel(level)


@pytest.fixture
def bench(
    tiny: Callable[..., Path],
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    as_it_was: None,
) -> Bench:
    return Bench(tiny("llama"), corpus, tmp_path, capsys)


@pytest.fixture(scope="session")
def pruned(
    tiny: Callable[..., Path], corpus: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The tiny model pruned on the corpus. Do not write in it."""
    from mwanda.pruned.after_prune import prune

    out = tmp_path_factory.mktemp("pruned") / "model"
    prune(
        str(tiny("llama")), out=out, calibration=str(corpus), windows=2, window_length=32,
        criterion="wanda", allocation="uniform",
    )  # fmt: skip
    return out
