"""What a file of statistics holds, how it comes into being, and what is read off it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch
from transformers import AutoModelForCausalLM

import mwanda
from mwanda import DataError, InputError, RunOptions
from mwanda.methods.allocation import cwl
from mwanda.methods.input_statistics import Need, summarise
from mwanda.model.identity import linears_sha256
from mwanda.model.run.decoder import MemoryDecoder
from mwanda.pruning.statistics import file as statistics_file
from mwanda.pruning.statistics.file import SavedStatistics
from mwanda.text.window_files import window_sha256
from tests.pruning.pipeline.helpers import WEIGHTS, Tiny, token_windows, windows_object
from tests.pruning.pipeline.test_reconstruction import grams_of
from tests.pruning.saved.helpers import LANGUAGES, OPTIONS, collected, content, from_text
from tests.support import experts, oracle

EQUAL = {"de": 0.5, "sw": 0.5}
ATTENTION = "model.layers.0.self_attn"


def test_the_sums_are_a_plain_loops(tiny: Tiny, tmp_path: Path) -> None:
    source, file = tiny("llama"), tmp_path / "s.safetensors"
    options = RunOptions(compute_dtype="float64", batch_tokens=48)
    record = collected(source, file, options=options, gram=True, language_weights=WEIGHTS).record
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float64).eval()
    names = [name for name, _ in oracle.linears_of(model)]
    expected = oracle.measure(model, names, token_windows(), EQUAL)
    grams, saved = grams_of(model, names), SavedStatistics.open(file)
    assert record.shapes == {n: tuple(oracle.matrix(m).shape) for n, m in oracle.linears_of(model)}
    for block in range(3):
        for name, sums in saved.load(block).items():
            assert list(sums) == LANGUAGES
            assert [s.tokens for s in sums.values()] == [120, 40]
            for tag, known in expected[name].mean_square.items():
                found = sums[tag].square / sums[tag].tokens
                torch.testing.assert_close(found, known, rtol=1e-9, atol=0)
                shares = sums[tag].active / sums[tag].tokens
                torch.testing.assert_close(shares, expected[name].active[tag])
            torch.testing.assert_close(saved.load_gram(block, name).matrix, grams[name])


def test_inputs_that_linears_share_are_stored_once(tiny: Tiny, tmp_path: Path) -> None:
    collected(tiny("llama"), tmp_path / "s.safetensors", gram=True)
    tensors, record = content(tmp_path / "s.safetensors")
    entry = record["inputs"][f"{ATTENTION}.q_proj"]
    assert [*entry["linears"]] == [f"{ATTENTION}.{name}_proj" for name in "qkv"]
    assert len(record["inputs"]) == 3 * 4
    assert len(tensors) == 3 * 4 * (2 + len(statistics_file.PARTS))
    assert record["needs"] == [*get_args(Need)]


def test_tokens_of_experts_are_those_routed_to_them(tiny: Tiny, tmp_path: Path) -> None:
    source, file = tiny("qwen3_moe"), tmp_path / "s.safetensors"
    collected(source, file)
    saved = SavedStatistics.open(file)
    model = AutoModelForCausalLM.from_pretrained(source).eval()
    path = "model.layers.0.mlp.experts"
    for name, languages in experts.routed_inputs(model, path, token_windows()).items():
        found = saved.load(0)[name]
        seen = {tag: len(inputs) for tag, inputs in languages.items() if len(inputs)}
        assert {tag: sums.tokens for tag, sums in found.items()} == seen


def test_it_says_what_it_is_of(tiny: Tiny, tmp_path: Path) -> None:
    windows = windows_object()
    record = collected(tiny("llama"), tmp_path / "s.safetensors", calibration=windows).record
    assert record.model.name == str(tiny("llama"))
    assert record.model.blocks == 3
    assert record.settings == {"compute_dtype": "float32", "skip_first_tokens": 0}
    assert record.calibration.languages["de"].windows == 5
    assert set(record.versions) >= {"mwanda", "torch", "transformers"}
    decoder = MemoryDecoder(AutoModelForCausalLM.from_pretrained(tiny("llama")))
    assert record.model.linears_sha256 == linears_sha256(decoder)
    first = window_sha256(windows.tokens["de"][0])[:16]
    assert first in bytes_of(record.windows["de"])


def bytes_of(packed: str) -> list[str]:
    from mwanda.text.shared_sentences import unpack_hashes

    return [known.hex() for known in unpack_hashes(packed)]


def test_only_one_block_is_held(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums and Gram matrices go to the disk block by block, and are joined one by one."""
    added: list[set[str]] = []
    original = statistics_file.Spill.add

    def noting(self: statistics_file.Spill, tensors: dict[str, torch.Tensor]) -> None:
        added.append({name.split(".self_attn")[0].split(".mlp")[0] for name in tensors})
        original(self, tensors)

    monkeypatch.setattr(statistics_file.Spill, "add", noting)
    collected(tiny("llama"), tmp_path / "s.safetensors", gram=True)
    assert all(len(blocks) == 1 for blocks in added)
    assert set().union(*added) == {f"model.layers.{k}" for k in range(3)}


def test_nothing_is_left_of_a_pass_that_fails(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise DataError("no")

    monkeypatch.setattr(statistics_file.Spill, "join", fails)
    with pytest.raises(DataError):
        collected(tiny("llama"), tmp_path / "s.safetensors", gram=True)
    assert not any(tmp_path.iterdir())


def test_bad_requests(tiny: Tiny, tmp_path: Path) -> None:
    out = tmp_path / "s.safetensors"
    for given, says in (
        ({"calibration": None}, "--calibration: expected text to take statistics on"),
        ({"language_weights": WEIGHTS}, "--language-weights: expected --gram"),
        ({"sparsity": 0.5}, "stats: expected fields among"),
        ({"languages": ["fr"]}, "--languages"),
        ({"skip_blocks": [9]}, "--skip-blocks"),
        ({"windows": 0}, "windows"),
    ):
        with pytest.raises(InputError, match=says):
            collected(tiny("llama"), out, **given)
    with pytest.raises(InputError, match="nothing there"):
        collected(tmp_path / "none", out)
    assert not any(tmp_path.iterdir())


def test_agreement_is_the_signal_of_cwl(tiny: Tiny, tmp_path: Path) -> None:
    source, file = tiny("olmoe", layers=5), tmp_path / "s.safetensors"
    collected(source, file)
    text = from_text(source, tmp_path / "out", allocation="cwl", expert_tokens=1)
    view = mwanda.show_statistics(file)
    assert [block.agreement for block in view.blocks] == text.manifest.signals
    ranked = sorted(range(5), key=lambda b: text.manifest.signals[b])
    assert view.most_specific == tuple(ranked[:2])
    assert view.most_shared == tuple(reversed(ranked[-2:]))


def test_languages_of_a_view(tiny: Tiny, tmp_path: Path) -> None:
    file = tmp_path / "s.safetensors"
    collected(tiny("llama"), file, include=["o_proj"], gram=True, language_weights=WEIGHTS)
    view, saved = mwanda.show_statistics(file), SavedStatistics.open(file)
    inputs = [
        summarise(saved.load(b)[f"model.layers.{b}.self_attn.o_proj"], EQUAL) for b in range(3)
    ]
    for row, tag in enumerate(LANGUAGES):
        shares = [float(one.activity[row].mean()) for one in inputs]
        assert view.languages[tag].activity == pytest.approx(sum(shares) / 3)
        agreement = sum(cwl.measure([], [one]) for one in inputs) / 3
        assert view.languages[tag].agreement == pytest.approx(agreement)
        assert view.languages[tag].weight == [0.75, 0.25][row]
        assert view.languages[tag].tokens == [120, 40][row]


def test_a_view_does_not_depend_on_the_order_of_hashes(tiny: Tiny, tmp_path: Path) -> None:
    file = tmp_path / "s.safetensors"
    collected(tiny("llama", layers=5), file)
    script = f"import mwanda; print(mwanda.show_statistics({str(file)!r}).as_dict())"
    told = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
            check=True, capture_output=True, text=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(told) == 1


def test_a_single_language_agrees_with_nobody(tiny: Tiny, tmp_path: Path) -> None:
    file = tmp_path / "s.safetensors"
    one = windows_object(token_windows({"de": (2, 24)}))
    mwanda.collect_statistics(tiny("llama"), file, calibration=one, options=OPTIONS)
    view = mwanda.show_statistics(file)
    assert [block.agreement for block in view.blocks] == [None] * 3
    assert view.most_shared == view.most_specific == ()
    assert view.languages["de"].agreement is None
