"""verify and diff as a user meets them: every kind of damage named, exit code 1."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from safetensors.torch import load_file, save_file

from mwanda.pruning.folder.manifest import manifest_sha256, read_manifest
from mwanda.system.files import sha256_of
from tests.cli.helpers import Bench
from tests.support.forked import Forked

SHARD = "model.safetensors"
UP = "model.layers.1.mlp.up_proj"


def flip(folder: Path) -> None:
    data = bytearray((folder / SHARD).read_bytes())
    data[-999] ^= 1
    (folder / SHARD).write_bytes(data)


def reweigh(folder: Path, name: str, change: Callable[[torch.Tensor], Any]) -> None:
    """Change weights and mend the hash of the file, and the manifest's."""
    weights = load_file(folder / SHARD)
    change(weights[name])
    save_file(weights, folder / SHARD, metadata={"format": "pt"})
    manifest = json.loads((folder / "mwanda.json").read_text())
    manifest["files"][SHARD] = sha256_of(folder / SHARD)
    manifest["sha256"] = manifest_sha256(manifest)
    (folder / "mwanda.json").write_text(json.dumps(manifest))


def fill_a_zero(weight: torch.Tensor) -> None:
    weight[tuple(torch.nonzero(weight == 0)[0])] = 0.5


def edit(folder: Path) -> None:
    manifest = json.loads((folder / "mwanda.json").read_text())
    manifest["recipe"]["seed"] = 9
    (folder / "mwanda.json").write_text(json.dumps(manifest, indent=1))


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a flipped bit": (flip, f"{SHARD}: contents changed since it was written"),
    "a nonzero where the mask has zero": (
        lambda folder: reweigh(folder, f"{UP}.weight", fill_a_zero),
        f"{UP}: 1919 zeros instead of 1920",
    ),
    "a changed unpruned weight": (
        lambda folder: reweigh(folder, "model.norm.weight", lambda w: w[3:4].add_(0.25)),
        "tensor model.norm.weight: 1 unpruned weights are not the source's",
    ),
    "a missing tokenizer file": (
        lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json: missing",
    ),
    "an edited manifest": (edit, "mwanda.json: edited since it was written"),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_named_and_exit_code_1(
    bench: Bench, pruned: Path, tmp_path: Path, what: str
) -> None:
    spoil, says = DAMAGE[what]
    folder = tmp_path / "copy"
    shutil.copytree(pruned, folder)
    words = ["verify", folder, "--against", bench.source]
    assert bench.run(*words).code == 0
    spoil(folder)
    for ran in (bench.run(*words), bench.run(*words, "--json")):
        assert ran.code == 1
        assert len(ran.err.splitlines()) == 1
        assert ran.err.startswith(f"error: {folder}: not as its manifest says")
        assert says in ran.err
    assert says in " ".join(json.loads(ran.out)["problems"])


def test_damage_as_a_process(tiny: Callable[..., Path], pruned: Path, tmp_path: Path) -> None:
    """All five at once."""
    folder = tmp_path / "copy"
    shutil.copytree(pruned, folder)
    for spoil, _ in [*DAMAGE.values()][1:]:
        spoil(folder)
    flip(folder)
    with Forked("verify", folder, "--against", tiny("llama"), cwd=tmp_path) as running:
        _, err = running.communicate()
    assert running.returncode == 1
    assert "Traceback" not in err
    for _, says in DAMAGE.values():
        assert says in err, says


def test_the_wrong_base_is_named_first_and_alone(
    bench: Bench, pruned: Path, tiny: Callable[..., Path]
) -> None:
    wrong = tiny("llama", seed=1)
    ran = bench.run("verify", pruned, "--against", wrong)
    assert (ran.code, ran.out) == (1, "")
    (line,) = ran.err.splitlines()
    assert line.startswith(f"error: --against {wrong}: expected the model that {pruned} was pruned")
    assert f"{bench.source}, found another one by its {SHARD}" in line
    assert UP not in line
    every = bench.run("verify", pruned, "--against", wrong, "-v")
    assert (every.code, every.err.splitlines()[-1]) == (1, line)
    assert every.out.startswith(line.removeprefix("error: ").partition(";")[0])
    assert f"{UP}: " in every.out
    data = json.loads(bench.run("verify", pruned, "--against", wrong, "--json").out)
    assert data["other_base"] in line
    assert any(problem.startswith(f"{UP}: ") for problem in data["problems"])
    assert (
        bench.run("verify", pruned, "--against", bench.source, "--json").json()["other_base"]
        is None
    )


def test_verify_says_what_it_did_not_compare(bench: Bench, pruned: Path) -> None:
    ran = bench.run("verify", pruned)
    assert ran.code == 0
    assert "note: not compared with its source: give --against SOURCE" in ran.out
    assert bench.run("verify", pruned, "--against", bench.source, "--json").json()["notes"] == []


def test_masks_beside_a_folder(bench: Bench, pruned: Path) -> None:
    masks = bench.root / "masks.safetensors"
    words = bench.prune("--criterion", "wanda", "--allocation", "uniform", "--masks-only")
    words[3] = masks
    assert bench.run(*words).code == 0
    assert bench.run("verify", pruned, "--against", bench.source, "--mask", masks).code == 0
    same = bench.run("diff", pruned, masks)
    assert same.code == 0
    assert "0 of" in same.out
    assert "overlap of the kept weights 1.0000" in same.out


def test_a_difference_is_a_result_and_no_failure(bench: Bench, pruned: Path) -> None:
    ran = bench.run("diff", bench.source, pruned)
    assert (ran.code, ran.err) == (0, "")
    assert "positions in 21 linears differ (50.0000%)" in ran.out
    for word in ("block", "kind", "most different", "down_proj", "100.0000%", "80 of 80"):
        assert word in ran.out
    data = bench.run("diff", bench.source, pruned, "--json").json()
    assert data["total"]["share"] == 0.5
    assert data["linears"][UP]["rows"] == [80, 80]


def test_verify_writes_a_test_case_for_every_linear(bench: Bench) -> None:
    assert bench.run(*bench.prune()).code == 0
    file = bench.root / "found.xml"
    words = ["verify", bench.out, "--junit", file]
    assert bench.run(*words).code == 0
    (suite,) = ElementTree.parse(file).getroot()
    count = len(read_manifest(bench.out).linears)
    assert suite.attrib["name"] == "out"
    assert (suite.attrib["tests"], suite.attrib["failures"]) == (str(1 + count), "0")
    refused = bench.run(*words)
    assert refused.code == 2
    assert "--overwrite" in refused.err
    weights = bench.out / "model.safetensors"
    tensors = load_file(weights)
    name = next(iter(read_manifest(bench.out).linears))
    tensors[f"{name}.weight"].fill_(1.0)
    save_file(tensors, weights, {"format": "pt"})
    assert bench.run(*words, "--overwrite").code == 1
    (suite,) = ElementTree.parse(file).getroot()
    cases = suite.iter("testcase")
    failed = [case.attrib["name"] for case in cases if case.find("failure") is not None]
    assert failed == ["files", name]


def test_verify_writes_its_report_before_it_prints(
    bench: Bench, pruned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = bench.root / "found.xml"
    with monkeypatch.context() as patch:
        patch.setattr("mwanda.cli.options.show", stopped)
        assert bench.run("verify", pruned, "--junit", file).code == 130
    assert ElementTree.parse(file).getroot().attrib["name"] == "mwanda verify"


def stopped(*_: object) -> None:
    raise KeyboardInterrupt


def test_verify_of_a_file_says_what_to_do(bench: Bench) -> None:
    file = bench.root / "model.gguf"
    file.write_bytes(b"GGUF")
    bench.refuse(
        ["verify", file], "expected a folder that mwanda wrote, found a file", "gguf-check"
    )
    file = bench.root / "model.mwz"
    file.write_bytes(b"")
    bench.refuse(["verify", file], f"mwanda unpack {file} --out")
