"""What the commands say of text: fields, files passed over, what cleaning drops, and regions."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from mwanda.cli.views.pruning import go_on
from mwanda.pruning.folder.manifest import read_manifest
from mwanda.text.window_files import load
from tests.cli.helpers import SMALL, Bench
from tests.support.text import write_corpus

ENGLISH = "You can change the settings of your computer from the menu that is shown here."


def renamed(bench: Bench, field: str = "content") -> Path:
    """German as rows whose text is in another field, every ninth without."""
    made = bench.root / "plain"
    made.mkdir()
    write_corpus(made, ["de"], lines=60)
    (path,) = made.iterdir()
    lines = path.read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] if path.suffix == ".jsonl" else line for line in lines]
    path.unlink()
    rows = [{field: None if n % 9 == 8 else text} for n, text in enumerate(texts)]
    folder = bench.root / "rows"
    folder.mkdir()
    packed = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())
    (folder / "de.jsonl.gz").write_bytes(packed)
    return folder


@pytest.mark.parametrize("command", ["prune", "windows", "stats", "eval"])
def test_every_command_takes_the_field_of_the_text(
    bench: Bench, command: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = renamed(bench)
    out = bench.root / ("o.safetensors" if command in ("windows", "stats") else "o")
    words: list[object] = [command, bench.source]
    words += ["--text", folder] if command == "eval" else ["--calibration", folder, *SMALL]
    words += ["--no-generate"] if command == "eval" else ["--out", out]
    bench.refuse(words, "expected a field 'text', found the fields content", "--text-field content")
    twice = [f"{folder}?column=x" if word == folder else word for word in words]
    bench.refuse([*twice, "--text-field", "content"], "--text-field: expected a field of a text's")
    caplog.clear()
    ran = bench.run(*words, "--text-field", "content")
    assert ran.code == 0, ran.err
    assert caplog.text.count("6 of 60 rows have no text (6 null) and are left out") == 1
    if command == "prune":
        made = read_manifest(out)
        assert made.calibration is not None
        assert made.calibration.source == f"{folder}?column=content"
        assert "rows?column=content" in (out / "README.md").read_text()


def mixed(bench: Bench, *, repeat: bool = False) -> Path:
    """German with English left in, and a page that comes again."""
    folder = bench.root / "mixed"
    folder.mkdir()
    lines = [f"Seite {n} handelt von einem Haus am See und seinem Garten." for n in range(9)]
    text = "\n".join([*lines, lines[0] if repeat else "", ENGLISH, *lines[:1]])
    (folder / "de.txt").write_text(text, encoding="utf-8")
    (folder / "english.txt").write_text(ENGLISH, encoding="utf-8")
    return folder


def test_what_is_dropped_is_counted_and_may_be_kept(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    folder, out = mixed(bench), bench.root / "w.safetensors"
    words = ["windows", bench.source, "--out", out, "--calibration", folder, "--allow-short",
             "--windows", "20", "--window-length", "64"]  # fmt: skip
    ran = bench.run(*words)
    assert ran.code == 0, ran.err
    assert (
        "de: dropped 1 of 11 documents as repeated (--keep-repeated keeps them) and 1 lines as "
        "English, all there was of 1 documents (--keep-english keeps them)"
    ) in caplog.text
    told = "passed over english.txt (named after no language; en.txt if it is English)"
    assert caplog.text.count(told) == 1
    caplog.clear()
    assert load(out).kept == ()
    both = bench.run(*words, "--keep-english", "--keep-repeated", "--overwrite")
    assert both.code == 0
    assert "de: dropped" not in caplog.text
    drawn = load(out)
    assert drawn.kept == ("english", "repeated")
    assert (drawn.draws["de"].duplicates_dropped, drawn.draws["de"].english_lines_dropped) == (0, 0)
    too_much = [word for word in words if word != "--allow-short"] + ["--overwrite"]
    refused = bench.run(*too_much)
    assert refused.code == 2
    assert "dropped before that: 1 of 11 documents as repeated" in refused.err


def test_what_was_kept_is_in_recipe_and_manifest(bench: Bench) -> None:
    folder = mixed(bench)
    recipe = bench.recipe(
        "keep_english: true\nkeep_repeated: true\nwindows: 2\nwindow_length: 32\n"
    )
    words: list[Any] = ["prune", bench.source, "--calibration", folder, "--recipe", recipe]
    kept, dropped = bench.root / "kept", bench.root / "dropped"
    assert bench.run(*words, "--out", kept).code == 0
    assert bench.run(*words, "--out", dropped, "--drop-english", "--drop-repeated").code == 0
    made, other = read_manifest(kept), read_manifest(dropped)
    assert made.calibration is not None
    assert other.calibration is not None
    assert (made.recipe["keep_english"], other.recipe["keep_english"]) == (True, False)
    assert (made.calibration.kept, other.calibration.kept) == (("english", "repeated"), ())
    card = (kept / "README.md").read_text()
    assert "--keep-english" in card
    assert "--keep-repeated" in card
    assert "--keep-english" not in (dropped / "README.md").read_text()


def test_a_region_does_not_make_a_language_unseen(bench: Bench, other_text: Path) -> None:
    calibration, scored = bench.root / "c", bench.root / "s"
    for folder, text, tag in ((calibration, bench.corpus, "de-AT"), (scored, other_text, "de_XX")):
        folder.mkdir()
        (path,) = text.glob("de.*")
        (folder / f"{tag}{path.suffix}").write_bytes(path.read_bytes())
    out = bench.root / "o"
    ran = bench.run("prune", bench.source, "--out", out, "--calibration", calibration, *SMALL)
    assert ran.code == 0, ran.err
    shown = bench.run("eval", out, "--text", scored, "--no-generate", "--json").json()
    assert shown["languages"]["de"]["seen"]


def test_a_word_is_taken_where_it_is_asked_for(bench: Bench) -> None:
    folder = mixed(bench)
    (folder / "de.txt").rename(folder / "dev.txt")
    words = ["eval", bench.source, "--text", folder, "--no-generate", "--json"]
    bench.refuse(words, "found only dev.txt (a word, though also Domung's code", lines=1)
    shown = bench.run(*words, "--languages", "dev").json()
    assert list(shown["languages"]) == ["dev"]
    words = ["windows", bench.source, "--out", bench.root / "w.safetensors", *SMALL]
    words += ["--calibration", folder, "--allow-short"]
    bench.refuse(words, "found only dev.txt (a word, though also Domung's code", lines=1)
    assert list(bench.run(*words, "--languages", "dev", "--json").json()) == ["dev"]
    plan = ["plan", bench.source, *words[4:]]
    bench.refuse(plan, "found only dev.txt (a word, though also Domung's code", lines=1)
    assert bench.run(*plan, "--languages", "dev", "--json").json()["languages"] == ["dev"]


def test_what_windows_have_settled_is_not_asked_again(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """The manifest says what was done, and not what was asked of windows drawn before."""
    file = bench.root / "w.safetensors"
    text = ["--calibration", bench.corpus, "--windows", "1", "--window-length", "32"]
    assert bench.run("windows", bench.source, "--out", file, *text).code == 0
    given = ["--calibration", file, "--keep-english", "--seed", "9", "--criterion", "wanda"]
    assert bench.run(*bench.prune(*given, calibrated=False)).code == 0
    assert "its text was drawn before; not used: --seed, --keep-english" in caplog.text
    recipe = read_manifest(bench.out).recipe
    assert (recipe["keep_english"], recipe["seed"]) == (False, 0)


def test_languages_alone_are_a_first_try(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    words = bench.prune(
        "--languages", "sw,de", "--criterion", "wanda", "--allocation", "uniform",
        "--windows", "1000", "--window-length", "32", calibrated=False,  # more than there is
    )  # fmt: skip
    made = bench.run(*words)
    assert made.code == 0, made.err
    assert "no --calibration: bundled:udhr/first is taken, little text" in caplog.text
    assert "--recipe quick" not in caplog.text  # it is as fast as that
    calibration = read_manifest(bench.out).calibration
    assert calibration is not None
    assert (calibration.source, [*calibration.languages]) == ("bundled:udhr/first", ["sw", "de"])
    advice = caplog.messages[-1].splitlines()
    assert advice[0] == "next:"
    assert (
        advice[1]
        .strip()
        .startswith(
            f"mwanda eval {bench.out} --baseline {bench.source} --text bundled:udhr/second "
            "--languages sw,de --sentences 24"
        )
    )
    assert advice[2].strip() == f"mwanda verify {bench.out} --against {bench.source}"
    caplog.clear()
    slow = ["plan", bench.source, "--languages", "sw,de"]
    assert bench.run(*slow).code == 0
    assert "--recipe quick makes it a fast one" in caplog.text
    caplog.clear()
    assert bench.run(*slow, "--recipe", "quick", "--window-length", 64).code == 0
    assert "--recipe quick" not in caplog.text
    caplog.clear()
    assert bench.run(*words, "--overwrite", "--json").code == 0
    assert "next:" not in caplog.text
    bench.refuse(
        [*words, "--overwrite", "--languages", "de,et"],
        "--calibration: expected text in et",
        "only",
    )


def test_advice_is_quoted_for_the_shell() -> None:
    score, check = go_on("a b", Path("it's"), ["et"]).splitlines()[1:]
    assert check.strip() == """mwanda verify 'it'"'"'s' --against 'a b'"""
    assert "--languages" not in score  # the bundled text has no Estonian


@pytest.mark.parametrize("command", ["prune", "plan", "stats", "windows", "recover", "eval"])
def test_faults_of_text_are_told_together_before_a_model_is_opened(
    bench: Bench, command: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = bench.root / "text"
    folder.mkdir()
    (folder / "german.txt").write_text("eins\n")
    (folder / "fr.jsonl").write_text('{"content": "un"}\n')
    (folder / "sw.txt").write_text("moja\n")
    words: list[object] = [command, bench.source, "--languages", "de,fr,sw"]
    words += ["--text" if command == "eval" else "--calibration", folder]
    words += ["--dense", bench.source] if command == "recover" else []
    words += [] if command in ("eval", "plan") else ["--out", bench.root / "o.safetensors"]
    says = ("language 'de' of", "fr.jsonl:1: expected a field 'text'", "de.txt if it is German")
    bench.refuse(words, *says, lines=3)
    assert "opening" not in caplog.text


def test_a_field_of_no_text_is_refused(bench: Bench) -> None:
    words = [*bench.prune("--languages", "de", calibrated=False), "--text-field", "content"]
    bench.refuse(words, "--text-field: expected a text that has it, found none named")
