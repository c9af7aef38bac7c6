"""A pruned folder recovered: zeros exact, the rest nearer to the dense model, all of it told."""

from __future__ import annotations

import importlib.util
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.integrations import integration_utils

import mwanda
from mwanda.errors import DataError, GateError, InputError, MwandaError
from mwanda.pruned.recover import learner, outcome, training, watch
from mwanda.pruned.recover import recover as module
from mwanda.pruned.recover.outcome import check_gain
from mwanda.pruned.recover.recover import RecoverResult
from mwanda.pruned.recover.watch import Watch
from mwanda.pruning import journal
from mwanda.pruning.folder.made_with import recovery_command
from mwanda.pruning.folder.manifest import read_manifest
from mwanda.pruning.recipe.recovery import Settings
from mwanda.system.progress import Silent
from mwanda.text.languages import MULTIPLE
from tests.pruning.pipeline.helpers import windows_file
from tests.support.folders_made import Tiny, pruned
from tests.support.forked import torchrun
from tests.support.models import tiny_model
from tests.support.text import write_corpus

COUNTS = {"de": (24, 20), "sw": (16, 16)}
HOW: dict[str, Any] = {"steps": 3, "batch": 8, "learning_rate": 2e-3}

Pruned = Callable[..., Path]


@pytest.fixture(scope="module")
def folder(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Pruned:
    made: dict[tuple[str, str], Path] = {}

    def make(family: str, how: str = "folder") -> Path:
        if (family, how) not in made:
            place = tmp_path_factory.mktemp("recover")
            made[family, how] = out = place / "pruned"
            if how == "masks":
                masks = pruned(tiny, place / "masks.safetensors", family, masks_only=True)
                mwanda.apply_masks(masks, tiny(family), out)
            else:
                pruned(tiny, out, family, **({} if how == "folder" else {"pattern": how}))
        return made[family, how]

    return make


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return windows_file(tmp_path, counts=COUNTS, seed=5)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {k: v for path in folder.glob("*.safetensors") for k, v in load_file(path).items()}


CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("llama", "folder", {}),
    "2:4": ("llama", "2:4", {}),
    "masks applied": ("llama", "masks", {}),
    "tied embeddings": ("gemma3", "folder", {"train_embeddings": True}),
    "experts": ("mixtral", "folder", {}),
    "low rank": ("mixtral", "folder", {"low_rank": 4, "learning_rate": 2e-2}),
}


@pytest.mark.parametrize("case", CASES)
def test_zeros_stay_and_the_rest_comes_nearer(
    case: str, folder: Pruned, tiny: Tiny, text: Path, tmp_path: Path
) -> None:
    family, how, more = CASES[case]
    source, dense = folder(family, how), tiny(family)
    made = mwanda.recover(source, tmp_path / "out", dense=dense, calibration=text, **HOW | more)
    recovery, old, new = made.recovery, weights(source), weights(tmp_path / "out")
    assert {tag: one.windows for tag, one in recovery.held_out.items()} == {"de": 3, "sw": 2}
    assert all(one.after < one.before for one in recovery.held_out.values())
    assert recovery.worse == ()
    before, after = read_manifest(source), read_manifest(tmp_path / "out")
    assert after == made.manifest.model_copy(update={"sha256": after.sha256})
    assert after.linears == before.linears  # zeros are counted and hashed there
    assert (after.recipe, after.mask_file) == (before.recipe, before.mask_file)
    assert (after.mask_file is not None) == (how == "masks")
    for tensor in {record.tensor for record in after.linears.values()}:
        zeros = new[tensor] == 0
        assert torch.equal(zeros, old[tensor] == 0)
        assert how != "2:4" or zeros.reshape(-1, 4).sum(1).ge(2).all()
    still = {name for name in old if torch.equal(old[name], new[name])}
    assert {name.rpartition(".")[2] for name in old} >= {"weight"}
    assert old.keys() == new.keys()
    kept = {"llama": 2, "gemma3": 0, "mixtral": 2 + 3}  # mixtral: three routers
    assert len(still) == kept[family], still
    assert ("model.embed_tokens.weight" in recovery.learnt) == (family == "gemma3")
    for against in (dense, None):
        found = mwanda.verify(tmp_path / "out", against=against)
        assert found.problems == ()
    assert "recovery gave the kept weights new values" in mwanda.verify(
        tmp_path / "out", against=dense
    ).notes[0]  # fmt: skip
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert f"mwanda {'mask apply' if how == 'masks' else 'prune'} " in card
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert loaded(torch.tensor([[5, 6, 7]])).logits.isfinite().all()
    assert not (tmp_path / ".out.partial").exists()


def test_what_is_said_of_it(folder: Pruned, tiny: Tiny, text: Path, tmp_path: Path) -> None:
    made = mwanda.recover(
        folder("llama"), tmp_path / "out", dense=tiny("llama"), calibration=text,
        language_weights={"de": 3, "sw": 1}, dtype="bfloat16", **HOW,
    )  # fmt: skip
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert f"mwanda recover FOLDER --dense {tiny('llama').name} --out RECOVERED" in card
    assert "--language-weights de=0.75,sw=0.25 --steps 3 --learning-rate 0.002" in card
    assert "--background none" in card
    assert "smaller in every language" in card
    assert "nothing was trained" not in card
    assert [len(text.languages) for text in made.manifest.calibrations] == [2, 2]
    assert made.manifest.calibrations[-1].weights == {"de": 0.75, "sw": 0.25}
    assert {one.dtype for one in weights(tmp_path / "out").values()} == {torch.bfloat16}
    assert repr(made).startswith("<RecoverResult: ")
    assert mwanda.verify(tmp_path / "out", against=tiny("llama")).problems == ()
    again = mwanda.recover(
        tmp_path / "out", tmp_path / "again", dense=tiny("llama"), calibration=text,
        train_embeddings=True, **HOW | {"steps": 1},
    )  # fmt: skip
    assert {"model.embed_tokens.weight", "lm_head.weight"} <= {*again.recovery.learnt}
    assert len(again.manifest.recoveries) == 2
    extracted = mwanda.extract_masks(tmp_path / "again", tmp_path / "masks.safetensors")
    assert (extracted.updated, extracted.manifest.recoveries) == ("recovery", ())


def test_a_model_near_the_dense_one_takes_a_lower_rate_and_says_so(
    folder: Pruned, tiny: Tiny, text: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="mwanda"):
        made = mwanda.recover(
            folder("llama"), tmp_path / "out", dense=tiny("llama"), calibration=text, steps=2
        ).recovery
    mean = sum(made.text.weights[tag] * one.before for tag, one in made.held_out.items())
    assert 0 < mean < 0.4
    rate = made.settings["learning_rate"]
    assert rate == pytest.approx(2e-5 * (mean / 0.4) ** 0.5, rel=5e-3)
    assert f"learning rate {rate:g} in place of 2e-05: the model begins {mean:.3f}" in caplog.text
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert f"--learning-rate {rate}" in card


def test_each_dtype_is_told_of_what_wrote_it(tiny: Tiny, text: Path, tmp_path: Path) -> None:
    source = pruned(tiny, tmp_path / "pruned", dtype="bfloat16")
    made = mwanda.recover(
        source, tmp_path / "out", dense=tiny("llama"), calibration=text, dtype="float32", **HOW
    )
    assert made.manifest.recipe == read_manifest(source).recipe
    assert made.recovery.settings["dtype"] == made.manifest.dtype == "float32"
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    commands = [line for line in card.splitlines() if line.startswith("mwanda ")]
    prune, recover = (line.split(" --dtype ")[1:] for line in commands)
    assert [words[0].split()[0] for words in (prune, recover)] == ["bfloat16", "float32"]
    # What did not learn was rounded by the prune.
    assert mwanda.verify(tmp_path / "out", against=tiny("llama")).problems == ()


def test_background_is_learnt_from_as_one_language(
    folder: Pruned, tiny: Tiny, text: Path, tmp_path: Path
) -> None:
    write_corpus(tmp_path / "others", ["de", "fr", "hi"], lines=40)
    made = mwanda.recover(
        folder("llama"), tmp_path / "out", dense=tiny("llama"), calibration=text,
        background=str(tmp_path / "others"), background_windows=8, background_weight=0.25, **HOW,
    )  # fmt: skip
    recovery = made.recovery
    assert recovery.text.background == ("fr", "hi")
    assert recovery.held_out[MULTIPLE].windows == 1
    assert recovery.text.weights == {"de": 0.375, "sw": 0.375, MULTIPLE: 0.25}
    assert recovery.settings["background_windows"] == 8
    other = recovery.settings | {"background_windows": 9}  # of which as many need not come
    assert "--background others --background-weight 0.25 --background-windows 9" in " ".join(
        recovery_command(recovery.model_copy(update={"settings": other}))
    )


class _Stops(Silent):
    """Ends the run after so many steps."""

    def __init__(self, after: int) -> None:
        self.left, self.counts = after, False

    def stage(
        self, name: str, blocks: int, done: int = 0, unit: str = "block", after: float = 0.0
    ) -> None:
        self.counts = name == "recover"

    def block(self, tokens: int) -> None:
        self.left -= self.counts
        if self.left < 0:
            raise KeyboardInterrupt


def _refuse(*_: Any) -> None:
    raise GateError("refused")


def test_resumed_is_unbroken(
    folder: Pruned, tiny: Tiny, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "PATIENCE", 0.0)
    given: dict[str, Any] = {
        "dense": tiny("llama"), "calibration": text, "steps": 6, "batch": 8, "at_once": 4,
        "objective": "worst",
    }  # fmt: skip

    def run(name: str, progress: Any) -> RecoverResult:
        options = mwanda.RunOptions(progress=progress)
        return mwanda.recover(folder("llama"), tmp_path / name, options=options, **given)

    unbroken = run("whole", Silent())
    for after in (0, 3):  # in the first step, and in the one after a checkpoint
        with pytest.raises(KeyboardInterrupt):
            run("broken", _Stops(after))
        assert not (tmp_path / "broken").exists()
    with monkeypatch.context() as refusing:
        refusing.setattr(module, "check_gain", _refuse)
        counted = _Stops(100)
        with pytest.raises(GateError, match="refused"):
            run("broken", counted)
        assert counted.left == 100 - 3  # three of six were done
    counted = _Stops(0)
    broken = run("broken", counted)  # all six were: it may be written now
    names = {path.name for path in (tmp_path / "whole").iterdir()}
    assert names == {path.name for path in (tmp_path / "broken").iterdir()}
    one, other = (weights(tmp_path / name) for name in ("whole", "broken"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert unbroken.recovery == broken.recovery


def test_several_processes_learn_what_one_does(
    folder: Pruned, tiny: Tiny, text: Path, tmp_path: Path
) -> None:
    words = ["recover", folder("llama"), "--dense", tiny("llama"), "--calibration", text]
    how = ["--steps", 3, "--batch", 6, "--device", "cpu"]
    for size in (2, 3):
        with torchrun(size, *words, *how, "--out", size, "--json", cwd=tmp_path) as running:
            out, err = running.communicate(timeout=240)
        assert running.returncode == 0, err
        assert out.count('"best_step"') == 1
    one = mwanda.recover(
        folder("llama"), tmp_path / "1", dense=tiny("llama"), calibration=text, steps=3, batch=6,
        options=mwanda.RunOptions(device="cpu"),
    )  # fmt: skip
    for size in ("2", "3"):
        many = read_manifest(tmp_path / size).recoveries[0]
        for tag, held in one.recovery.held_out.items():
            assert many.held_out[tag].before == pytest.approx(held.before, rel=1e-4)
            assert many.held_out[tag].after == pytest.approx(held.after, rel=1e-3)
        first, second = (weights(tmp_path / name) for name in ("1", size))
        for name, weight in first.items():
            torch.testing.assert_close(second[name], weight, rtol=0, atol=2e-4)
        assert not (tmp_path / f".{size}.partial").exists()


def test_a_run_without_gain_stops_and_goes_on_as_unbroken(
    folder: Pruned, tiny: Tiny, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "PATIENCE", 0.0)

    def run(name: str, *found: float) -> int:
        """How many steps were made, where looks found this."""
        told, counted = iter(found), _Stops(100)
        monkeypatch.setattr(
            watch.Watch, "losses", lambda *_: dict.fromkeys(("de", "sw"), next(told))
        )
        mwanda.recover(
            folder("llama"), tmp_path / name, dense=tiny("llama"), calibration=text, patience=2,
            options=mwanda.RunOptions(progress=counted), **HOW | {"steps": 8},
        )  # fmt: skip
        assert next(told, None) is None
        return 100 - counted.left

    looks = (0.6, 0.5, 0.55, 0.5)
    assert run("whole", 1.0, *looks, 0.5) == len(looks)
    with monkeypatch.context() as refusing:
        refusing.setattr(module, "check_gain", _refuse)
        with pytest.raises(GateError, match="refused"):
            run("broken", 1.0, *looks, 0.5)
    assert run("broken", 1.0, 0.5) <= 1  # nothing is looked at again
    one, other = (weights(tmp_path / name) for name in ("whole", "broken"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    recovery = read_manifest(tmp_path / "broken").recoveries[-1]
    assert recovery == read_manifest(tmp_path / "whole").recoveries[-1]
    assert (recovery.steps, recovery.best_step) == (8, 2)
    assert "--patience 2" in " ".join(recovery_command(recovery))
    assert "in at most 8 steps" in (tmp_path / "whole" / "README.md").read_text(encoding="utf-8")


class _Writer:
    """TensorBoard's, as far as a file of its own shows where it writes."""

    def __init__(self, log_dir: str) -> None:
        Path(log_dir).mkdir(parents=True)
        (Path(log_dir) / "events").touch()

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def test_what_is_logged_stays_and_looks_are_as_small_as_steps(
    folder: Pruned, tiny: Tiny, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = ModuleType("torch.utils.tensorboard")
    there.SummaryWriter = _Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, there.__name__, there)
    monkeypatch.setattr(integration_utils, "is_tensorboard_available", lambda: True)
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    together, forward = [], learner.Learner.forward

    def counted(self: Any, ids: torch.Tensor, *given: Any, **named: Any) -> Any:
        together.append(len(ids))
        return forward(self, ids, *given, **named)

    monkeypatch.setattr(learner.Learner, "forward", counted)
    mwanda.recover(
        folder("llama"), tmp_path / "out", dense=tiny("llama"), calibration=text, at_once=2,
        report_to="tensorboard", **HOW,
    )  # fmt: skip
    assert (tmp_path / "out.runs" / "events").exists()
    assert max(together) == 2


def test_a_run_that_diverges_ends_at_the_next_look(
    folder: Pruned, tiny: Tiny, text: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        MwandaError, match=r"--learning-rate: .* finite, found nan on .* after step 2; .* --restart"
    ):
        mwanda.recover(
            folder("llama"), tmp_path / "out", dense=tiny("llama"), calibration=text,
            **HOW | {"steps": 16, "learning_rate": 1e30},
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("mean", "error", "says"),
    [
        (0.0, InputError, "one that differs from the dense model"),
        (-1e-9, InputError, "one that differs from the dense model"),
        (float("nan"), DataError, "de, sw: expected a finite divergence"),
    ],
)
def test_a_start_that_teaches_nothing_is_told_before_the_first_step(
    mean: float, error: type[MwandaError], says: str, folder: Pruned, tiny: Tiny, text: Path,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(Watch, "losses", lambda *_: {"de": mean, "sw": mean})
    monkeypatch.setattr(training, "teach", None)
    with pytest.raises(error, match=says):
        mwanda.recover(
            folder("llama"), tmp_path / "out", dense=tiny("llama"), calibration=text, **HOW
        )
    assert not (tmp_path / "out").exists()


def test_languages_without_weight_make_no_steps(
    folder: Pruned, tiny: Tiny, text: Path, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"calibration": text, "language_weights": {"de": 0, "sw": 1}}
    made = mwanda.recover(folder("llama"), tmp_path / "out", dense=tiny("llama"), **given)
    sw = COUNTS["sw"][0] - made.recovery.held_out["sw"].windows
    assert made.recovery.steps == 4 * sw
    assert mwanda.plan_recover(folder("llama"), **given).steps == 4 * sw


def test_no_memory_to_learn_in_is_told_with_what_takes_less(
    folder: Pruned, tiny: Tiny, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> int:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(training, "teach", full)
    with pytest.raises(MwandaError, match=r"memory: .*; take less with --gradient-.*--plan"):
        mwanda.recover(
            folder("llama"), tmp_path / "out", dense=tiny("llama"), calibration=text, **HOW
        )


def test_zeros_by_chance_are_no_prune(tiny: Tiny, text: Path, tmp_path: Path) -> None:
    dense = tmp_path / "dense"
    shutil.copytree(tiny("llama"), dense)
    held = weights(dense)
    for weight in held.values():
        weight[weight.abs() < 0.001] = 0
    save_file(held, dense / "model.safetensors", metadata={"format": "pt"})
    there = {*tmp_path.iterdir()}
    with pytest.raises(InputError, match=r"expected a pruned model, .* found no more zeros than"):
        mwanda.recover(dense, tmp_path / "out", dense=dense, calibration=text, **HOW)
    assert {*tmp_path.iterdir()} == there


def test_another_run_does_not_go_on(
    folder: Pruned, tiny: Tiny, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "PATIENCE", 0.0)
    options = mwanda.RunOptions(progress=_Stops(1))
    given: dict[str, Any] = {"dense": tiny("llama"), "calibration": text, "options": options}
    with pytest.raises(KeyboardInterrupt):
        mwanda.recover(folder("llama"), tmp_path / "out", **given, **HOW)
    with pytest.raises(InputError, match=r"another settings\.learning_rate"):
        mwanda.recover(folder("llama"), tmp_path / "out", **given, **HOW | {"learning_rate": 3e-3})


def test_a_folder_of_another_program(tiny: Tiny, text: Path, tmp_path: Path) -> None:
    dense, sparse = tiny("llama"), tmp_path / "sparse"
    shutil.copytree(dense, sparse)
    held = weights(sparse)
    for name, weight in held.items():
        if ".mlp." in name:
            weight[:, 1::2] = 0
    save_file(held, sparse / "model.safetensors", metadata={"format": "pt"})
    made = mwanda.recover(sparse, tmp_path / "out", dense=dense, calibration=text, **HOW)
    assert len(made.manifest.linears) == 9
    assert made.manifest.totals.sparsity == 0.5
    assert mwanda.verify(tmp_path / "out", against=dense).problems == ()
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "masks of another program" in card
    assert "mwanda prune" not in card
    mwanda.extract_masks(tmp_path / "out", tmp_path / "masks.safetensors")
    mwanda.apply_masks(tmp_path / "masks.safetensors", dense, tmp_path / "applied")
    assert mwanda.verify(tmp_path / "applied", against=dense).problems == ()
    assert all(torch.equal(held[k], w) for k, w in weights(tmp_path / "applied").items())
    card = (tmp_path / "applied" / "README.md").read_text(encoding="utf-8")
    assert "mwanda mask apply masks.safetensors" in card


def test_bad_input_is_one_error_and_leaves_nothing(
    folder: Pruned, tiny: Tiny, text: Path, tmp_path: Path
) -> None:
    source, dense = folder("llama"), tiny("llama")
    other = tiny_model("gpt2", tmp_path / "other")
    shutil.copy(tiny("llama", bos=False) / "tokenizer.json", other)
    vocabulary = (other / "tokenizer.json").read_text(encoding="utf-8").replace('"!":', '"!!":')
    (other / "tokenizer.json").write_text(vocabulary, encoding="utf-8")
    small = tiny_model("llama", tmp_path / "small")
    config = (small / "config.json").read_text(encoding="utf-8")
    (small / "config.json").write_text(config.replace("300", "290"), encoding="utf-8")
    held = weights(small)
    cut = {name: one[:290].contiguous() if len(one) == 300 else one for name, one in held.items()}
    save_file(cut, small / "model.safetensors", metadata={"format": "pt"})
    there = {*tmp_path.iterdir()}
    out = tmp_path / "out"
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("expected a pruned model, with zeros in its linears, found no zero", {"model": dense}),
        ("expected the tokenizer of", {"dense": other}),
        ("expected the vocabulary of .*, 300 entries, found 290", {"dense": small}),
        ("de: expected at least 25 windows: 24 held out", {"held_out": 24}),
        ("expected a new folder, found an existing one", {"out": other}),
        ("expected another folder than the source model's", {"out": source, "over": True}),
        ("--calibration: expected text to learn from", {"calibration": None}),
        ("language 'fr': expected one of those in", {"languages": "fr"}),
        ("--compute-dtype", {"compute": "float64"}),
        ("--compute-dtype: expected float32 or bfloat16", {"compute": "float16"}),
        ("batch: expected 1 or more, found 0", {"batch": 0}),
        ("objective: expected 'mean' or 'worst', found best", {"objective": "best"}),
        ("optimizer: expected 'adam' or 'adam-8bit', found sgd", {"optimizer": "sgd"}),
    ]  # fmt: skip
    for says, changed in wrong:
        given = {"model": source, "out": out, "dense": dense, "calibration": text} | HOW | changed
        options = mwanda.RunOptions(
            overwrite=bool(given.pop("over", False)),
            compute_dtype=str(given.pop("compute", "auto")),
        )
        with pytest.raises(InputError, match=says):
            mwanda.recover(given.pop("model"), given.pop("out"), options=options, **given)
        assert {*tmp_path.iterdir()} == there


@pytest.mark.parametrize(
    ("library", "extra", "asked"),
    [("accelerate", "recover", {}), ("bitsandbytes", "recover-8bit", {"optimizer": "adam-8bit"})],
)
def test_without_the_extra(
    library: str, extra: str, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec",
        lambda name, *more: None if name == library else real(name, *more),
    )  # fmt: skip
    with pytest.raises(InputError, match=rf"pip install 'mwanda\[{extra}\]'"):
        mwanda.recover("pruned", "out", dense="dense", calibration="text", **asked)


def test_states_of_a_byte(folder: Pruned, tiny: Tiny, text: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    given: dict[str, Any] = {"dense": tiny("llama"), "calibration": text, **HOW}
    exact = mwanda.recover(folder("llama"), tmp_path / "exact", **given).recovery
    made = mwanda.recover(folder("llama"), tmp_path / "out", optimizer="adam-8bit", **given)
    assert mwanda.verify(tmp_path / "out", against=tiny("llama")).problems == ()
    for tag, one in made.recovery.held_out.items():
        assert one.after == pytest.approx(exact.held_out[tag].after, rel=0.01)
        assert one.after < one.before


def test_a_disk_that_is_full_midway(folder: Pruned, tiny: Tiny, text: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"dense": tiny("llama"), "calibration": text, **HOW}
    pruned = folder("llama")  # before files are kept small
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(MwandaError, match="expected room on the disk"):
            mwanda.recover(pruned, tmp_path / "out", **given)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "out").exists()
    mwanda.recover(pruned, tmp_path / "out", **given)
    assert {path.name for path in tmp_path.iterdir()} == {"out", text.name}


def test_what_was_no_gain_is_not_written(
    folder: Pruned, tiny: Tiny, text: Path, tmp_path: Path
) -> None:
    with pytest.raises(MwandaError, match="expected a model nearer to the dense one"):
        mwanda.recover(
            folder("llama"), tmp_path / "out", dense=tiny("llama"), calibration=text,
            **HOW | {"steps": 1, "learning_rate": 10.0},
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_what_never_worse_refused_is_written_without_it_and_learns_nothing_again(
    folder: Pruned, tiny: Tiny, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(journal, "PATIENCE", 0.0)  # so short a run is kept too
    monkeypatch.setattr(outcome, "_worse", lambda *_: ["de"])
    given: dict[str, Any] = {"dense": tiny("llama"), "calibration": text, **HOW}
    with pytest.raises(GateError, match="leave --never-worse out to have it as it is"):
        mwanda.recover(folder("llama"), tmp_path / "out", never_worse=True, **given)
    assert not (tmp_path / "out").exists()
    with caplog.at_level("INFO", logger="mwanda"):
        caplog.clear()
        mwanda.recover(folder("llama"), tmp_path / "out", **given)
    assert "step 0 of 3" in caplog.text
    assert "step 1 of 3" not in caplog.text
    assert (tmp_path / "out" / "mwanda.json").is_file()


def test_a_language_that_lost_is_named_or_refused(caplog: pytest.LogCaptureFixture) -> None:
    before, after = {"de": 0.5, "sw": 0.3}, {"de": 0.2, "sw": 0.31}
    check_gain(before, after, 0.4, 0.25, Settings())
    assert "sw 0.3000 to 0.3100" in caplog.text
    with pytest.raises(GateError, match=r"--never-worse.*sw 0\.3000 to 0\.3100; .*--restart"):
        check_gain(before, after, 0.4, 0.25, Settings(never_worse=True))
    with pytest.raises(MwandaError, match=r"nearer .*; begin anew with --restart and a lower"):
        check_gain(before, after, 0.4, 0.4, Settings())


def test_zeros_of_an_earlier_prune_stay(tiny: Tiny, text: Path, tmp_path: Path) -> None:
    dense, first, second = tiny("llama"), tmp_path / "first", tmp_path / "second"
    how: dict[str, Any] = {"criterion": "magnitude", "allocation": "uniform"}
    mwanda.prune(dense, out=first, include=["mlp"], **how)
    mwanda.prune(first, out=second, include=["self_attn"], **how)
    before = weights(second)
    assert float((before["model.layers.0.mlp.up_proj.weight"] == 0).float().mean()) == 0.5
    mwanda.recover(second, tmp_path / "out", dense=dense, calibration=text, **HOW)
    for name, weight in weights(tmp_path / "out").items():
        assert torch.all(weight[before[name] == 0] == 0), name
