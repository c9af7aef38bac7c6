"""trim from the command line."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from mwanda.errors import InputError, MwandaError
from mwanda.pruned import after_prune
from tests.cli.helpers import Bench
from tests.support.gguf_files import gguf_model, write_gguf


def test_a_plan_and_a_trim_say_the_same(bench: Bench) -> None:
    words = ["trim", bench.source, "--languages", "de,sw"]
    plan = bench.run(*words, "--plan", "--json").json()
    made = bench.run(*words, "--out", bench.out, "--json").json()
    assert plan == {name: made[name] for name in plan}
    assert made["kept"] < made["rows"]
    assert bench.run("verify", bench.out, "--against", bench.source).code == 0
    shown = bench.run(*words, "--out", bench.out, "--overwrite")
    assert "text in Latn keeps its tokens and their logits" in shown.out
    assert "a character that has no token is written as single bytes" in shown.out
    assert f"{plan['share']:.1%} of them the vocabulary's" in shown.out


def test_a_choice_by_text_shows_what_it_costs(bench: Bench) -> None:
    words = ["trim", bench.source, "--languages", "de", "--by", "text", "--text", bench.corpus,
             "--out", bench.out]  # fmt: skip
    made = bench.run(*words, "--json").json()
    assert made["coverage"]["de"]["same"] == made["coverage"]["de"]["texts"] > 0
    assert made["losses"]["de"]["tokenisation"] == 0
    assert made["losses"]["de"]["total"] == made["losses"]["de"]["softmax"] < 0


def by_text(bench: Bench, model: Path, text: Path) -> list[object]:
    """The words of a trim of a model for German, by a text."""
    return ["trim", model, "--languages", "de", "--by", "text", "--text", text,
            "--out", bench.out]  # fmt: skip


def test_what_a_pruned_model_was_calibrated_on_tells_what_its_trim_costs(
    bench: Bench,
) -> None:
    pruned, size = bench.root / "pruned", ["--windows", "60", "--window-length", "64"]
    ran = bench.run(*bench.prune("--out", pruned, "--languages", "de", "--allow-short", *size))
    assert ran.code == 0, ran.err
    refused = bench.run("eval", pruned, "--text", bench.corpus, "--languages", "de")
    assert "--allow-overlap" in refused.err
    made = bench.run(*by_text(bench, pruned, bench.corpus), "--json").json()
    assert made["losses"]["de"]["total"] < 0


def test_a_text_too_short_to_hold_lines_out_is_trimmed_by(bench: Bench, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.mkdir()
    (text / "de.txt").write_text("Guten Tag\n", encoding="utf-8")
    made = bench.run(*by_text(bench, bench.source, text), "--allow-loss", "--json").json()
    assert (made["losses"], made["out"]) == ({}, str(bench.out))


def test_a_trim_that_cannot_be_scored_is_shown_with_a_warning(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise InputError("no memory for it")

    monkeypatch.setattr("mwanda.evaluation.trim_loss.trim_loss", failing)
    made = bench.run(*by_text(bench, bench.source, bench.corpus), "--json").json()
    assert (made["losses"], made["out"]) == ({}, str(bench.out))
    (said,) = (record.message for record in caplog.records if record.levelname == "WARNING")
    assert said == f"{bench.out} is written; what it costs could not be measured: no memory for it"
    assert bench.run("verify", bench.out).code == 0

    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mwanda.evaluation.trim_loss.trim_loss", stopped)
    ran = bench.run(*by_text(bench, bench.source, bench.corpus), "--overwrite")
    assert (ran.code, ran.err) == (130, "interrupted: nothing is half written under its name\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], ("--out", "--plan", "neither")),
        (["--plan", "--out", "x"], ("--out", "both")),
        (["--plan", "--by", "text", "--text", "TEXT", "--budget", "1.5"], ("--budget", "64k")),
        (["--plan", "--by", "word"], ("script", "letters", "text")),
        (["--plan", "--keep-texts", "nowhere.txt"], ("--keep-texts",)),
        (["--out", "x.gguf"], ("none of GGUF",)),
    ],
)
def test_what_is_refused(bench: Bench, words: list[str], says: tuple[str, ...]) -> None:
    given = [bench.corpus if word == "TEXT" else word for word in words]
    given = [bench.root / word if word in ("x", "x.gguf") else word for word in given]
    bench.refuse(["trim", bench.source, "--languages", "de", *given], *says)


def test_a_prune_is_trimmed_in_one_go(bench: Bench) -> None:
    words = bench.prune("--languages", "de,sw", "--sparsity", "50%", "--trim")
    made = bench.run(*words, "--json").json()
    assert made["folder"] == str(bench.out)
    assert made["trim"]["kept"] < made["trim"]["rows"]
    assert [path.name for path in bench.root.iterdir()] == ["out"]
    found = bench.run("verify", bench.out, "--against", bench.source, "--json").json()
    assert found["problems"] == []
    assert found["totals"]["sparsity"] == pytest.approx(0.5, abs=0.01)
    bench.refuse(bench.prune("--trim", "--overwrite"), "--trim", "--languages")
    bench.refuse(bench.prune("--trim", "--languages", "de"), "out", "--overwrite")


def test_a_prune_whose_trim_fails_stays_to_be_trimmed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise MwandaError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(after_prune, "trim", failing)
        ran = bench.run(*bench.prune("--languages", "de,sw", "--trim"))
    assert (ran.code, "no room" in ran.err) == (1, True)
    assert [path.name for path in bench.root.iterdir()] == [".out.untrimmed"]
    told = "the prune is whole and kept; to go on without another: mwanda "
    command = caplog.messages[-1].removeprefix(told).removesuffix(" …")
    again = bench.run(*shlex.split(command))
    assert again.code == 0, again.err
    assert bench.run("verify", bench.out, "--against", bench.source).code == 0


def test_a_model_that_is_not_finished_is_told_from_none(bench: Bench) -> None:
    words = ["trim", bench.root / "m", "--languages", "de", "--plan"]
    bench.refuse(words, "found nothing there; check the spelling")
    (bench.root / ".m.partial").mkdir()
    bench.refuse(words, "found an unfinished run of it; run the command again")


def test_a_budget_and_texts_to_keep(bench: Bench, tmp_path: Path) -> None:
    lines = tmp_path / "keep.txt"
    lines.write_text("ключ\n", encoding="utf-8")
    words = ["trim", bench.source, "--languages", "de", "--plan", "--json", "--keep-texts", lines]
    assert bench.run(*words).json()["kept"] >= 259
    bench.refuse([*words[:-3], "--by", "text", "--text", bench.corpus, "--budget", "8"],
                 "budget", "rows that any text needs")  # fmt: skip


def test_a_trim_ends_with_what_comes_next(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    words = ["trim", bench.source, "--languages", "de,sw", "--out", bench.out]
    made = bench.run(*words)
    assert made.code == 0, made.err
    assert re.search(r"its tensors [\d.]+ MB to [\d.]+ MB \(-\d+\.\d%\)", made.out)
    score, check = caplog.messages[-1].splitlines()[1:]
    for line in (score.split("#")[0], check):
        again = bench.run(*shlex.split(line)[1:])
        assert again.code == 0, again.err
    caplog.clear()
    more = ["--by", "text", "--text", bench.corpus, "--overwrite"]
    assert bench.run(*words, *more).code == 0
    assert caplog.messages[-1].splitlines() == ["next:", check]  # its tokens cannot be compared
    caplog.clear()
    file = write_gguf(bench.root / "model.gguf", "llama", gguf_model("llama"))
    words = by_text(bench, file, bench.corpus)
    words[-1] = bench.root / "out.gguf"
    ran = bench.run(*words)
    assert (ran.code, [line for line in caplog.messages if not line or "next:" in line]) == (0, [])
