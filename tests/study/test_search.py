"""The search for the highest sparsity: what it tries, what it finds, what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

import mwanda
from mwanda import Comparison, InputError
from mwanda.cli.views.studies import searched
from mwanda.errors import GateError
from mwanda.evaluation.gate import Gate
from mwanda.study.search import search_sparsity
from mwanda.study.search_result import SearchResult
from tests.support.folders_made import Tiny
from tests.support.text import write_corpus

SHORT = {"criterion": "wanda", "allocation": "uniform", "windows": 2, "window_length": 32}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder / "calibration", ["de", "sw"], lines=30)
    write_corpus(folder / "test", ["de", "sw"], lines=2, seed=9)
    return folder


def look(tiny: Tiny, corpus: Path, gate: Gate, **more: Any) -> SearchResult:
    texts = mwanda.read_texts(corpus / "test")
    given = {"calibration": corpus / "calibration", "step": 0.1, "highest": 0.8} | SHORT | more
    return search_sparsity(tiny("gemma3"), texts, gate, **given)


def rises(tiny: Tiny, corpus: Path, folder: Path, sparsity: float) -> dict[str, float]:
    """By prune and evaluate."""
    mwanda.prune(tiny("gemma3"), out=folder, calibration=corpus / "calibration", mode="dense",
                 sparsity=sparsity, **SHORT)  # fmt: skip
    texts = mwanda.read_texts(corpus / "test")
    compared = Comparison.of(mwanda.evaluate(tiny("gemma3"), texts), mwanda.evaluate(folder, texts))
    return {rise.language: rise.relative for rise in compared.rises}


def test_trials_are_what_prune_and_evaluate_give(tiny: Tiny, corpus: Path, tmp_path: Path) -> None:
    found = look(tiny, corpus, Gate("1e11%"), out=tmp_path / "out")
    assert [trial.sparsity for trial in found.trials] == [0.4, 0.6, 0.7, 0.8]
    assert (found.sparsity, found.lowest_failed) == (0.8, None)
    last = found.trials[-1]
    alone = rises(tiny, corpus, tmp_path / "alone", 0.8)
    assert last.worst_rise == max(alone.values())
    assert alone[last.worst] == last.worst_rise
    assert last.mean == pytest.approx(sum(alone.values()) / 2)
    assert last.reached == pytest.approx(0.8, abs=0.02)
    made = json.loads((tmp_path / "out" / "mwanda.json").read_text())
    other = json.loads((tmp_path / "alone" / "mwanda.json").read_text())
    assert made["linears"] == other["linears"]
    json.dumps(found.as_dict(), allow_nan=False)


def test_the_boundary_is_found_between_neighbours(tiny: Tiny, corpus: Path, tmp_path: Path) -> None:
    at = {s: max(rises(tiny, corpus, tmp_path / f"{s}", s).values()) for s in (0.5, 0.6)}
    limit = sum(at.values()) / 2
    found = look(tiny, corpus, Gate(limit))
    tried = {trial.sparsity: trial for trial in found.trials}
    assert found.sparsity is not None
    assert tried[found.sparsity].worst_rise <= limit
    assert found.lowest_failed == pytest.approx(found.sparsity + 0.1)
    assert tried[found.lowest_failed].worst_rise > limit
    assert all(trial.passed is (trial.worst_rise <= limit) for trial in found.trials)
    assert found.folder is None


def test_a_language_with_a_limit_of_its_own_decides(tiny: Tiny, corpus: Path) -> None:
    found = look(tiny, corpus, Gate("1e11%", {"sw": 0.0}))
    assert found.sparsity is None or all(
        "de" not in trial.failed for trial in found.trials if not trial.passed
    )
    strict = look(tiny, corpus, Gate(None, {"de": -1.0}))
    assert [trial.sparsity for trial in strict.trials] == [0.4, 0.2, 0.1]
    assert strict.sparsity is None
    with pytest.raises(GateError, match=r"none; at 0\.1: de "):
        strict.check()


def test_saved_statistics_serve_it(tiny: Tiny, corpus: Path, tmp_path: Path) -> None:
    mwanda.collect_statistics(
        tiny("gemma3"), tmp_path / "s.safetensors", calibration=corpus / "calibration",
        windows=2, window_length=32,
    )  # fmt: skip
    kept = {"statistics": tmp_path / "s.safetensors", "calibration": None}
    first = look(tiny, corpus, Gate("1e11%"), highest=0.2)
    second = look(tiny, corpus, Gate("1e11%"), highest=0.2, **kept)
    assert [t.worst_rise for t in first.trials] == [t.worst_rise for t in second.trials]
    with pytest.raises(InputError, match="--calibration: expected none beside --statistics"):
        look(tiny, corpus, Gate("100%"), statistics=tmp_path / "s.safetensors")


def test_magnitude_needs_no_text_and_a_reconstruction_its_matrices(
    tiny: Tiny, corpus: Path
) -> None:
    plain = look(tiny, corpus, Gate("1e11%"), criterion="magnitude", calibration=None, highest=0.1)
    assert plain.sparsity == 0.1
    rebuilt = look(tiny, corpus, Gate("1e11%"), reconstruction="sparsegpt-update", highest=0.1)
    assert rebuilt.sparsity == 0.1
    assert rebuilt.trials[0].worst_rise != plain.trials[0].worst_rise


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"sparsity": 0.5}, "--sparsity: expected none"),
        ({"pattern": "2:4"}, "--pattern: expected one that leaves the sparsity open"),
        ({"step": 0.0}, "--step"),
        ({"highest": 1.0}, "--highest"),
        ({"step": 0.5, "highest": 0.4}, "--step: expected at most --highest 0.4"),
        ({"work": "/no/where"}, "--work"),
        ({"allocation": "measured"}, "--allocation: expected one that looks at sums"),
        ({"mode": "sequential"}, "--mode: expected dense"),
        ({"recover": True}, "--recover: expected no recovery"),
    ],
)
def test_what_cannot_be_searched(tiny: Tiny, corpus: Path, more: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        look(tiny, corpus, Gate("100%"), **more)


@pytest.mark.parametrize("saved", [False, True])
def test_a_name_that_is_none_is_refused_before_any_work(
    tiny: Tiny, corpus: Path, tmp_path: Path, saved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    more: dict[str, Any] = {"exclude": ["kproj"], "skip_blocks": [9]}
    if saved:
        file = tmp_path / "s.safetensors"
        mwanda.collect_statistics(tiny("gemma3"), file, calibration=corpus / "calibration",
                                  windows=2, window_length=32)  # fmt: skip
        more |= {"statistics": file, "calibration": None}
    monkeypatch.setattr("mwanda.study.search.evaluate", lambda *_a, **_k: pytest.fail("evaluated"))
    with pytest.raises(InputError) as error:
        look(tiny, corpus, Gate("100%"), **more)
    first, second = error.value.problems
    assert "found kproj, which is in none" in first
    assert "block numbers from 0 to 2, found 9" in second


def test_what_ships_is_judged_beside_the_trials(tiny: Tiny, corpus: Path, tmp_path: Path) -> None:
    worse = Path(shutil.copytree(tiny("gemma3"), tmp_path / "worse"))
    tensors = load_file(worse / "model.safetensors")
    tensors["model.norm.weight"].fill_(-21)  # Gemma adds one
    save_file(tensors, worse / "model.safetensors", {"format": "pt"})
    beside = {"worse": worse, "itself": {"path": str(tiny("gemma3")), "runtime": "transformers"}}
    found = look(tiny, corpus, Gate(0.5), highest=0.1, artefacts=beside)
    other, itself = found.alternatives
    texts = mwanda.read_texts(corpus / "test")
    alone = Comparison.of(mwanda.evaluate(tiny("gemma3"), texts), mwanda.evaluate(worse, texts))
    assert (other.name, other.passed, other.worst) == ("worse", False, alone.worst.language)
    assert other.worst_rise == pytest.approx(alone.worst.relative)
    assert set(other.failed) == {"de", "sw"}
    assert itself.passed
    assert itself.worst_rise == pytest.approx(0, abs=1e-6)
    assert 0 < itself.source_bytes <= itself.bytes  # which has headers too
    assert [one["name"] for one in found.as_dict()["alternatives"]] == ["worse", "itself"]
    assert searched(found)[1].count("passed, mean") == 1


def test_mistakes_in_what_ships_are_told_before_any_work(tiny: Tiny, corpus: Path) -> None:
    beside = {"a": "no", "b": {"path": ".", "runtime": "none"}, "c": {"paths": "."}}
    with pytest.raises(InputError) as error:
        look(tiny, corpus, Gate(0.1), artefacts=beside)
    assert len(error.value.problems) == 3
    for says in ("artefact a: no: expected an artefact", "artefact b: --runtime none", "c: path"):
        assert says in str(error.value)
