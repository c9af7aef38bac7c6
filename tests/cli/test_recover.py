"""``mwanda recover`` as it is typed."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from mwanda.errors import MwandaError
from mwanda.pruned import after_prune
from mwanda.pruning.folder.manifest import read_manifest
from tests.cli.helpers import Bench
from tests.pruning.pipeline.helpers import windows_file


def test_recover(
    bench: Bench, pruned: Path, other_text: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["recover", pruned, "--dense", bench.source, "--out", bench.out]
    text = ["--calibration", bench.corpus, "--windows", "8", "--window-length", "32"]
    how = ["--steps", "3", "--learning-rate", "1e-3"]
    planned = bench.run(*words[:4], *text, *how, "--plan")
    assert planned.code == 0, planned.err
    assert re.search(r"learning +3 steps of 1 window", planned.out)
    assert not bench.out.exists()
    bench.refuse([*words, *text, "--plan"], "--out", "found both")
    for wrong in (["--learning-rate", "-1"], ["--objective", "best"]):
        bench.refuse([*words[:4], *text, *wrong, "--plan"], wrong[0][2:].replace("-", "_"))
    shown = bench.run(*words, *text, *how)
    assert shown.code == 0, shown.err
    assert re.search(r"de German +1 +0\.\d+ +0\.\d+ +-\d", shown.out)
    assert f"mwanda eval {bench.out} --baseline {bench.source} " in caplog.text
    bench.refuse([*words, *text, *how], "expected a new folder")
    how[1] = "1"
    found = bench.run(*words, *text, *how, "--overwrite", "--json").json()
    assert found["steps"] == 1
    assert found["held_out"].keys() == {"de", "sw"}
    assert bench.run("verify", bench.out, "--against", bench.source).code == 0
    scored = ["eval", bench.out, "--text"]
    refused = bench.run(*scored, bench.corpus)
    assert refused.code == 2
    assert "text that did not calibrate the model" in refused.err
    assert bench.run(*scored, other_text, "--languages", "de,sw", "--no-generate").code == 0


def test_what_cannot_be_recovered(bench: Bench, pruned: Path) -> None:
    words = ["recover", pruned, "--dense", bench.source, "--out", bench.out]
    text = ["--calibration", bench.corpus]
    flags = ["--train-embeddings", "--gradient-checkpointing", "--never-worse"]
    wrong = ["--steps", "0", "--learning-rate", "-1", "--at-once", "3", "--windows", "0"]
    nowhere = ["recover", "nothing", "--dense", "nothing", "--out", bench.out]
    bench.refuse(
        [*nowhere, *flags, *wrong],  # settings are looked at first
        "recover: steps: expected 1 or more, found 0",
        "recover: learning_rate: expected a number above 0, found -1.0",
        "recover: at_once: expected a number that divides the batch of 1, found 3",
        "recover: windows: expected 1 or more, found 0",
        lines=4,
    )
    bench.refuse([*words, *text, "--report-to", "tensorbord,wandb"], "found 'tensorbord'")
    bench.refuse([*words, "--calibration", "nowhere"], "nowhere")
    bench.refuse([*words[:2], *words[4:], *text], "--dense")
    bench.refuse(["recover", "nothing", *words[2:], *text], "nothing", "nothing there")
    bench.refuse(["recover", bench.source, *words[2:], *text], "found no zero")
    many = ["--windows", "900"]
    bench.refuse([*words, *text, *many], "tokens of text for 900 windows", lines=2)


def test_a_prune_is_recovered_in_one_go(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    given = ["--windows", "8", "--window-length", "32", "--criterion", "wanda", "--recover"]
    words = ["prune", bench.source, "--out", bench.out, "--allocation", "uniform", *given]
    text = ["--calibration", bench.corpus]
    made = bench.run(*words, *text, "--json").json()
    assert made["recovery"]["steps"] == 56  # four passes over seven windows of two languages
    assert made["totals"] == made["recovery"]["totals"]
    assert {path.name for path in bench.root.iterdir()} == {"out"}
    assert bench.run("verify", bench.out, "--against", bench.source).code == 0
    bench.refuse([*words, *text], "expected a new folder")
    recipe = bench.root / "recipe.yaml"
    own = "recover: {steps: 2, learning_rate: 1.0e-3, windows: 12, background_windows: 3}"
    recipe.write_text(f"background: udhr\nbackground_windows: 2\n{own}", encoding="utf-8")
    by_file = [*words, *text, "--recipe", recipe, "--overwrite", "--json"]
    settings = bench.run(*by_file).json()["recovery"]  # --recover leaves its settings as they are
    assert (settings["steps"], settings["settings"]["learning_rate"]) == (2, 1e-3)
    manifest = read_manifest(bench.out)  # the recovery's text is of its own size
    for record, sizes in (
        (manifest.calibration, [8, 8, 2]), (manifest.recoveries[-1].text, [12, 12, 3]),
    ):  # fmt: skip
        assert record is not None
        assert [draw.windows for draw in record.languages.values()] == sizes
    assert "recovery" not in bench.run(*by_file, "--no-recover").json()
    bench.refuse([*words, "--overwrite"], "--recover", "--calibration")
    bench.refuse([*words, *text, "--masks-only"], "--recover", "no --masks-only", "--no-recover")


def test_a_prune_that_looked_at_no_text_does_not_say_so(bench: Bench) -> None:
    words = ["prune", bench.source, "--out", bench.out, "--criterion", "magnitude", "--recover"]
    text = ["--calibration", bench.corpus, "--windows", "8", "--window-length", "32"]
    assert bench.run(*words, *text).code == 0
    manifest = read_manifest(bench.out)
    assert manifest.calibration is None
    assert manifest.statistics == "none"
    assert [*manifest.recoveries[-1].text.languages] == ["de", "sw"]
    card = (bench.out / "README.md").read_text(encoding="utf-8")
    assert "calibrated on" not in card
    assert "recovered after that" in card


def test_a_plan_refuses_what_a_prune_with_a_recovery_does(bench: Bench, pruned: Path) -> None:
    words = ["plan", bench.source, "--recover", "--criterion", "magnitude"]
    saved = ["--statistics", pruned / "mwanda.json"]
    bench.refuse([*words, *saved], "--recover", "text to learn from", "found --statistics")
    bench.refuse(words, "--calibration", "expected text to recover on")
    bench.refuse([*words, "--sparsity", "0"], "recover: expected a sparsity above 0")


def test_text_that_suffices_for_the_prune_alone_is_told_before_it(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = bench.root / "recipe.yaml"
    recipe.write_text("recover: {windows: 900}", encoding="utf-8")
    given = ["--windows", "8", "--window-length", "32", "--criterion", "magnitude"]
    words = [bench.source, *given, "--recipe", recipe, "--calibration", bench.corpus]
    for verb in (["prune", "--out", bench.out], ["plan"]):
        bench.refuse([*verb, *words], "tokens of text for 900 windows", lines=2)
    # The bundled text for a first try is taken as short as it is.
    first = bench.run("plan", bench.source, *given, "--recipe", recipe, "--languages", "de,fr")
    assert first.code == 0
    assert caplog.text.count("no --calibration") == 1
    assert {path.name for path in bench.root.iterdir()} == {"recipe.yaml"}


def test_a_prune_whose_recovery_fails_stays_to_be_recovered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["prune", bench.source, "--out", bench.out, "--calibration", bench.corpus, "--recover"]
    how = ["--window-length", "32", "--criterion", "magnitude", "--allocation", "uniform"]

    def failing(whole: Path, *_: Any, **__: Any) -> None:
        assert whole.is_dir()
        raise MwandaError("no gain")

    with monkeypatch.context() as patch:
        patch.setattr(after_prune, "recover", failing)
        ran = bench.run(*words, *how)
    assert ran.code == 1
    assert "no gain" in ran.err
    kept = bench.root / ".out.unrecovered"
    assert f"mwanda recover {kept} --dense {bench.source} --out {bench.out}" in caplog.text
    assert [*bench.root.iterdir()] == [kept]
    text = ["--calibration", bench.corpus, "--windows", "8", *how[:2], "--steps", "1"]
    again = bench.run("recover", kept, "--dense", bench.source, "--out", bench.out, *text)
    assert again.code == 0, again.err
    shutil.rmtree(bench.out)
    monkeypatch.setattr(after_prune, "prune_once", None)  # what can be known is told before it
    plan = ["plan", bench.source, *words[4:]]  # refuses what the prune does
    for asked in (words, plan):
        bench.refuse([*asked, *how, "--sparsity", "0"], "recover: expected a sparsity above 0")
        bench.refuse([*asked, *how, "--compute-dtype", "float64"], "--compute-dtype", "float32 or")
        bench.refuse([*asked, *how, "--windows", "1"], "de", "at least 2 windows", lines=2)
    recipe, real = bench.root / "recipe.yaml", importlib.util.find_spec
    for settings, says in (
        ("{report_to: tensorbord}", "did you mean 'tensorboard'"),
        ("{optimizer: adam-8bit}", "pip install 'mwanda[recover-8bit]'"),
    ):
        recipe.write_text(f"recover: {settings}", encoding="utf-8")
        with monkeypatch.context() as patch:
            patch.setattr(
                importlib.util, "find_spec",
                lambda name, *more: None if name == "bitsandbytes" else real(name, *more),
            )  # fmt: skip
            bench.refuse([*words, *how, "--recipe", recipe], says)
            bench.refuse([*plan, *how, "--recipe", recipe], says)
    windows = windows_file(bench.root, counts={"de": (3, 32), "sw": (1, 32)})
    words[words.index("--calibration") + 1] = windows
    bench.refuse([*words, "--criterion", "wanda"], "sw", "at least 2 windows")
