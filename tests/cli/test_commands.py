"""What each command does when all is well, in this process."""

from __future__ import annotations

import errno
import json
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mwanda.methods.registry import ALLOCATIONS, CRITERIA, PATTERNS, RECONSTRUCTIONS
from tests.cli.helpers import SMALL, Bench
from tests.model.helpers import INDEX, same_bytes
from tests.support import REPOSITORY


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for path in folder.glob("*.safetensors"):
        found |= load_file(path)
    return found


def failing(error: BaseException) -> Callable[..., None]:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


def manifest(folder: Path) -> Any:
    return json.loads((folder / "mwanda.json").read_text())


@pytest.mark.parametrize("what", ["criteria", "allocations", "patterns", "reconstructions"])
def test_ls(bench: Bench, what: str) -> None:
    rows = bench.run("ls", what, "--json").json()
    text = bench.run("ls", what)
    assert text.code == 0
    assert text.err == ""
    assert len({row["name"] for row in rows}) == len(rows) >= 3
    for row in rows:
        for key, value in row.items():
            assert value
            assert (value if key == "name" else f"    {key}: {value}") in text.out.splitlines()


def test_ls_names_every_method(bench: Bench) -> None:
    def names(what: str) -> set[str]:
        return {row["name"] for row in bench.run("ls", what, "--json").json()}

    assert names("criteria") == CRITERIA.keys()
    assert names("allocations") == ALLOCATIONS.keys()
    assert names("reconstructions") == RECONSTRUCTIONS.keys()
    assert names("patterns") == {*PATTERNS, "N:M"}
    assert names("methods") == {*CRITERIA, *ALLOCATIONS, *RECONSTRUCTIONS, *PATTERNS, "N:M"}
    assert {"LlamaForCausalLM", "GPT2LMHeadModel", "BloomForCausalLM"} <= names("models")


def test_ls_models_is_the_page_of_the_docs(bench: Bench) -> None:
    page = (REPOSITORY / "docs" / "models.md").read_text(encoding="utf-8")
    assert bench.run("ls", "models").out.strip() == page.strip()


def test_version_and_help(bench: Bench) -> None:
    from importlib.metadata import version

    assert bench.run("--version").out.strip() == version("mwanda")
    for words in (["--help"], []):
        shown = bench.run(*words)
        assert (shown.code, shown.err) == (0, "")
        assert all(name in shown.out for name in ("prune", "eval", "windows", "plan", "verify"))
    for command in ("prune", "plan"):
        shown = bench.run(command, "--help")
        assert shown.code == 0
        assert all(f"--{name}" in shown.out for name in ("sparsity", "recipe", "json", "out"))


def test_magnitude_needs_no_text(bench: Bench) -> None:
    made = bench.run(*bench.prune("--criterion", "magnitude", "--json", calibrated=False)).json()
    assert made["recipe"]["allocation"]["name"] == "uniform"
    assert manifest(bench.out)["calibration"] is None
    assert made["totals"]["sparsity"] == 0.5
    for name, weight in weights(bench.out).items():
        source = weights(bench.source)[name]
        if "_proj" not in name:
            assert same_bytes(weight, source)
            continue
        assert torch.equal(weight[weight != 0], source[weight != 0])
        assert ((weight == 0).sum(1) == weight.shape[1] // 2).all()
        dropped = source.abs().masked_fill(weight != 0, 0).amax(1)
        kept = source.abs().masked_fill(weight == 0, torch.inf).amin(1)
        assert (dropped <= kept).all()


@pytest.mark.parametrize("size", ["5GB", "40KB"])
def test_no_sparsity_copies_bit_for_bit(bench: Bench, size: str) -> None:
    words = bench.prune("--sparsity", 0, "--max-shard-size", size, calibrated=False)
    assert bench.run(*words).code == 0
    one, other = weights(bench.source), weights(bench.out)
    assert one.keys() == other.keys()
    assert all(same_bytes(one[name], other[name]) for name in one)
    assert (bench.out / INDEX).exists() is (size == "40KB")
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (bench.source / name).read_bytes() == (bench.out / name).read_bytes()


def test_a_dtype_is_written(bench: Bench) -> None:
    words = bench.prune("--sparsity", 0, "--dtype", "bfloat16", calibrated=False)
    assert bench.run(*words).code == 0
    assert {weight.dtype for weight in weights(bench.out).values()} == {torch.bfloat16}
    assert json.loads((bench.out / "config.json").read_text())["dtype"] == "bfloat16"


def test_measured_errors_are_shown_by_language_and_sparsity(bench: Bench) -> None:
    words = ["--allocation", "measured", "--allocation-option", "windows=1",
             "--allocation-option", "steps=1", "--allocation-level", "linear"]  # fmt: skip
    planned = bench.run("plan", *bench.prune(*words)[1:])
    assert "tokens through masked blocks" in planned.out
    made = bench.run(*bench.prune(*words, "--json")).json()
    assert made["recipe"]["allocation_level"] == "linear"
    assert len(made["signals"]) == 21
    for signal in made["signals"]:
        assert signal["sparsities"] == pytest.approx([0.3, 0.5, 0.7])
        assert set(signal["errors"]) == set(made["recipe"]["languages"])
        assert all(0 < low < high for low, _, high in signal["errors"].values())


def test_a_pattern_and_a_choice_of_linears(bench: Bench) -> None:
    words = bench.prune(
        "--pattern", "2:4", "--include", "mlp", "--exclude", "down", "--skip-blocks", "0,2",
        "--criterion", "wanda",
    )  # fmt: skip
    assert bench.run(*words).code == 0
    linears = manifest(bench.out)["linears"]
    assert set(linears) == {f"model.layers.1.mlp.{name}_proj" for name in ("gate", "up")}
    source = weights(bench.source)
    for name, weight in weights(bench.out).items():
        if name.removesuffix(".weight") in linears:
            assert ((weight.view(-1, 4) == 0).sum(1) == 2).all()
        else:
            assert same_bytes(weight, source[name])


def test_an_output_of_ours_may_be_overwritten(bench: Bench) -> None:
    quick = ("--criterion", "magnitude")
    assert bench.run(*bench.prune(*quick, calibrated=False)).code == 0
    words = bench.prune(*quick, "--sparsity", 0.25, "--overwrite", calibrated=False)
    assert bench.run(*words).code == 0
    assert manifest(bench.out)["recipe"]["sparsity"] == 0.25
    assert [path.name for path in bench.root.iterdir()] == ["out"]


def test_a_recipe_file_and_an_option_over_it(bench: Bench) -> None:
    path = bench.recipe("sparsity: 0.25\ncriterion: {name: magnitude}\nskip_blocks: [1]\n")
    words = bench.prune("--recipe", path, "--sparsity", 0.75, "--json", calibrated=False)
    made = bench.run(*words).json()
    assert made["recipe"]["sparsity"] == 0.75
    assert made["recipe"]["criterion"]["name"] == "magnitude"
    assert made["recipe"]["skip_blocks"] == [1]
    assert made["totals"]["linears"] == 14


def test_the_recipe_of_a_manifest_prunes_the_same_again(bench: Bench, pruned: Path) -> None:
    first = manifest(pruned)
    path = bench.recipe(json.dumps(first["recipe"]))  # JSON is YAML
    assert bench.run(*bench.prune("--recipe", path)).code == 0
    assert manifest(bench.out)["linears"] == first["linears"]


def test_plan_touches_nothing_and_agrees_with_the_prune(
    bench: Bench, pruned: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = sorted(bench.root.rglob("*"))
    words = ["plan", *bench.prune("--criterion", "wanda", "--allocation", "uniform")[1:]]
    text, made = bench.run(*words), bench.run(*words, "--json").json()
    assert sorted(bench.root.rglob("*")) == before
    assert (text.code, text.err) == (0, "")
    assert f"opening {bench.source}" in caplog.messages[0]  # at once
    assert re.search(r"matrix products alone +\d+ s at .*; all the rest comes on top", text.out)
    totals = manifest(pruned)["totals"]
    assert (made["linears"], made["weights"]) == (totals["linears"], totals["weights"])
    assert made["model_weights"] == totals["model_weights"]
    assert made["removed"] == totals["pruned"]
    assert made["tokens"] == 2 * 2 * 32
    assert made["bytes_written"] == made["model_weights"] * 4


def test_verify_of_a_whole_and_of_a_damaged_folder(bench: Bench, pruned: Path) -> None:
    found = bench.run("verify", pruned, "--json").json()
    assert found["problems"] == []
    assert all(linear["zeros"] > 0 for linear in found["linears"].values())
    shown = bench.run("verify", pruned)
    assert (shown.code, shown.err) == (0, "")
    assert "21 linears as they were written" in shown.out
    assert bench.run("verify", pruned, "--verbose").out.count(" ok") == 21
    folder = bench.root / "copy"
    shutil.copytree(pruned, folder)
    shard = folder / "model.safetensors"
    raw = bytearray(shard.read_bytes())
    raw[-100] ^= 1
    shard.write_bytes(raw)
    broken = bench.run("verify", folder)
    assert broken.code == 1
    lines = broken.err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert "model.safetensors: contents changed" in lines[0]
    (folder / "tokenizer.json").unlink()
    assert "tokenizer.json: missing" in bench.run("verify", folder).err


def test_the_gate_decides_the_exit_code(bench: Bench, pruned: Path, other_text: Path) -> None:
    words = ["eval", pruned, "--text", other_text, "--no-generate", "--sentences", 2]
    words += ["--baseline", bench.source, "--fail-if-worse-than"]
    wide = bench.run(*words, "900%")
    assert (wide.code, wide.err) == (0, "")
    assert all(tag in wide.out for tag in ("German", "Swahili", "French", "rise"))
    worse = bench.root / "worse"
    shutil.copytree(bench.reweighted(lambda t: t["model.norm.weight"].mul_(-20)), worse)
    narrow = bench.run("eval", worse, *words[2:], "0.1%", "--json")
    assert narrow.code == 3
    told = json.loads(narrow.out)["gate"]
    assert (told["limit"], told["passed"]) == (0.001, False)
    assert set(told["failed"]) == {"de", "sw", "fr"}
    assert len(narrow.err.splitlines()) == 1
    assert narrow.err.startswith("error: ")
    assert "de +" in narrow.err
    one = bench.run("eval", worse, *words[2:], "9000%", "--language", "sw=0.1%", "--json")
    assert (one.code, set(json.loads(one.out)["gate"]["failed"])) == (3, {"sw"})


def test_a_gate_says_pass_or_fail_and_compares_with_the_base(
    bench: Bench, pruned: Path, other_text: Path, tiny: Callable[..., Path]
) -> None:
    words = ["eval", pruned, "--text", other_text, "--no-generate", "--sentences", 8]
    words += ["--fail-if-worse-than", "0.01%", "--baseline"]
    told = bench.run(*words, bench.source)
    assert told.code == 3
    assert "limit 0.01%, margin -" in told.out
    assert "interval" in told.out
    assert "FAIL de: +" in told.out
    assert "gate: FAIL: " in told.out
    assert "more than 0.01% in NLL" in told.err
    assert json.loads(bench.run(*words, bench.source, "--json").out)["baseline_is_base"] is True
    other = tiny("llama", seed=5)
    let = bench.run(*words, other, "--other-baseline", "--json")
    assert json.loads(let.out)["baseline_is_base"] is False
    dense = ["eval", bench.source, *words[2:], pruned]
    swapped = bench.run(*["900%" if one == "0.01%" else one for one in dense])
    assert "the baseline could not be checked: no manifest says what" in swapped.out


def test_a_gate_holds_an_artefact_to_its_own_folder(
    bench: Bench, pruned: Path, other_text: Path
) -> None:
    words = ["eval", pruned, "--runtime", "transformers", "--text", other_text, "--sentences", 4]
    words += ["--fail-if-worse-than", "0.1%", "--baseline"]
    itself = bench.run(*words, pruned, "--json").json()
    assert itself["gate"]["passed"]
    assert itself["baseline_is_base"] is True
    assert bench.run(*words, bench.source).code == 3
    other = bench.root / "other"
    shutil.copytree(bench.reweighted(lambda t: t["model.norm.weight"].mul_(-20)), other)
    assert bench.run(*words, other).code == 2


def test_overlap_may_be_allowed(bench: Bench, pruned: Path) -> None:
    words = ["eval", pruned, "--text", bench.corpus, "--no-generate", "--sentences", 2]
    shown = bench.run(*words, "--allow-overlap", "--json").json()
    assert set(shown["languages"]) == {"de", "sw"}


def test_the_card_takes_the_table(bench: Bench, pruned: Path, other_text: Path) -> None:
    folder = bench.root / "copy"
    shutil.copytree(pruned, folder)
    words = ["eval", folder, "--text", other_text, "--no-generate", "--sentences", 2]
    assert bench.run(*words, "--update-card").code == 0
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "fr French" in card
    assert bench.run(*words, "--update-card").code == 0
    assert (folder / "README.md").read_text(encoding="utf-8") == card
    assert bench.run("verify", folder).code == 0


def test_windows_are_drawn_once_and_kept(bench: Bench) -> None:
    path = bench.root / "w.safetensors"
    words = ["windows", bench.source, "--out", path, "--calibration", bench.corpus, *SMALL]
    drawn = bench.run(*words, "--json").json()
    assert {tag: row["shape"] for tag, row in drawn.items()} == {"de": [2, 32], "sw": [2, 32]}
    first = path.read_bytes()
    shown = bench.run(*words, "--overwrite")
    assert (shown.code, shown.err) == (0, "")
    assert "Swahili" in shown.out
    assert path.read_bytes() == first
    assert {tag: list(ids.shape) for tag, ids in load_file(path).items()} == {
        "de": [2, 32],
        "sw": [2, 32],
    }
    bench.run(*words, "--seed", 1, "--overwrite")
    assert path.read_bytes() != first


def test_background_that_cannot_be_is_told_before_any_window_is_drawn(bench: Bench) -> None:
    words = ["windows", bench.source, "--out", bench.root / "w.safetensors"]
    words += ["--calibration", bench.corpus, "--windows", 900]  # more than there is text for
    bench.refuse([*words, "--background", "nowhere"], "nowhere", "expected a folder")
    for count in (0, -3):
        given = ["--background", "udhr", "--background-windows", count]
        bench.refuse([*words, *given], "--background-windows", "a whole number from 1")
    none = "--background-windows: expected a --background, found none"
    for given in ([], ["--background", "none"]):
        bench.refuse([*words, *given, "--background-windows", 3], none)


def test_windows_fed_back_give_the_same_masks(bench: Bench) -> None:
    file, given = bench.root / "w.safetensors", bench.root / "given"
    text = ["--calibration", bench.corpus, *SMALL]
    for words in (
        ["windows", bench.source, "--out", file, *text],
        ["prune", bench.source, "--out", bench.out, *text],
        ["prune", bench.source, "--out", given, "--calibration", file],
    ):
        ran = bench.run(*words)
        assert ran.code == 0, ran.err
    one, other = (
        {name: row["mask_sha256"] for name, row in manifest(folder)["linears"].items()}
        for folder in (bench.out, given)
    )
    assert len(one) == 21
    assert one == other
    shard = "model.safetensors"
    assert (bench.out / shard).read_bytes() == (given / shard).read_bytes()


def test_debug_shows_the_traceback(bench: Bench) -> None:
    from mwanda.cli import main
    from mwanda.errors import InputError

    with pytest.raises(InputError):
        main(["verify", str(bench.root / "no"), "--debug"])


@pytest.mark.parametrize(
    "error", [OSError(13, "Permission denied"), RuntimeError("odd\nthing"), LookupError("x")]
)
def test_what_was_not_foreseen_is_one_line_too(
    bench: Bench, pruned: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("mwanda.pruned.verify.verify", failing(error))
    bench.refuse(["verify", pruned], type(error).__name__, "--debug", code=1)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "memory: expected room for what the run holds at once"),
        (OSError(28, "No space left on device"), "expected room on the disk"),
        (OSError(5, "Input/output error"), "found Input/output error"),
    ],
)
def test_no_memory_and_no_disk_are_said_by_every_command(
    bench: Bench, pruned: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    monkeypatch.setattr("mwanda.pruned.verify.verify", failing(error))
    bench.refuse(["verify", pruned], says, code=1)


def test_a_place_that_cannot_be_written(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "mkdtemp", failing(OSError(errno.EACCES, "Permission denied")))
    bench.refuse(bench.prune(), str(bench.root), "can be written", "Permission denied", "--out")


def test_a_disk_that_is_full(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.disk_usage(bench.root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: real._replace(free=1000))
    bench.refuse(bench.prune(), "GB of free disk", "found 0.00 GB", "free some space")


def test_an_interruption_is_130(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "mwanda.model.stored.writer.ShardWriter.write", failing(KeyboardInterrupt())
    )
    ran = bench.run(*bench.prune("--criterion", "magnitude", calibrated=False))
    assert ran.code == 130
    assert "nothing is half written" in ran.err
    assert list(bench.root.iterdir()) == []
