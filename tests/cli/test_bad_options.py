"""Options and recipes that cannot be: each named, on one line, before anything is written."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.helpers import SMALL, Bench

OPTIONS: list[tuple[list[str], tuple[str, ...]]] = [
    (["--sparsity", "1.2"], ("sparsity", "less than 1", "found 1.2", "such as 0.5")),
    (["--sparsity", "1"], ("sparsity", "less than 1", "found 1;")),
    (["--sparsity", "-1"], ("sparsity", "0 or more", "found -1")),
    (["--sparsity=nan"], ("sparsity", "finite", "found nan")),
    (["--sparsity", "inf"], ("sparsity", "found inf")),
    (["--sparsity", "half"], ("sparsity", "expected a number", "found half", "50%")),
    (["--pattern", "2:4", "--sparsity", "0.6"], ("sparsity", "2:4", "0.5", "found 0.6", "leave")),
    (["--pattern", "2:4", "--allocation", "owl"], ("allocation", "uniform", "2:4", "found owl")),
    (["--pattern", "3:5"], ("3:5", "divisible by 5", "q_proj with 48", "18 such", "--exclude")),
    (["--pattern", "5:4"], ("pattern", "N:M", "found 5:4")),
    (["--pattern", "squares"], ("pattern", "'squares'", "unstructured", "N:M")),
    (["--criterion", "wnda"], ("criterion", "'wnda'", "did you mean 'wanda'?", "magnitude")),
    (
        ["--allocation-level", "head"],
        ("allocation_level", "'block', 'role' or 'linear'", "found head"),
    ),
    (["--allocation", "owls"], ("allocation", "'owls'", "did you mean 'owl'?")),
    (["--criterion-option", "x"], ("--criterion-option", "NAME=VALUE", "found x")),
    (["--criterion-option", "dispersion_wait=1"], ("dispersion_wait", "did you mean")),
    (["--criterion-option", "dispersion_weight=x"], ("dispersion_weight", "number", "'x'")),
    (["--allocation-option", "zz=1"], ("measured", "option zz")),
    (["--languages", "de,xx1"], ("languages", "'xx1'", "sw")),
    (["--languages", "de,fr"], ("--languages", "de, sw", "found fr", "drop")),
    (["--languages", "de,de"], ("languages", "once", "de")),
    (["--languages", ""], ("languages",)),
    (["--language-weights", "fr=1"], ("--language-weights", "de, sw", "found fr")),
    (["--language-weights", "de=0,sw=0"], ("--language-weights", "above 0")),
    (["--language-weights", "de=much"], ("language_weights.de", "number", "found much")),
    (["--language-weights", "de"], ("--language-weights", "de=2,sw=1", "found de")),
    (["--windows", "0"], ("windows", "1", "found 0")),
    (["--window-length", "1"], ("window_length", "2", "found 1")),
    (["--window-length", "129"], ("--window-length", "128", "found 129")),
    (["--seed", "-1"], ("seed", "found -1")),
    (["--mode", "fast"], ("mode", "'sequential' or 'dense'", "found fast")),
    (["--include", "("], ("include", "regular expression", "'('")),
    (["--include", "nowhere"], ("--include", "found nowhere, which is in none", "q_proj")),
    (["--exclude", "layers"], ("--include/--exclude/--skip-blocks", "none left", "q_proj")),
    (["--skip-blocks", "3"], ("--skip-blocks", "0 to 2", "found 3")),
    (["--skip-blocks", "one"], ("--skip-blocks", "numbers", "found one")),
    (["--dtype", "int4"], ("dtype", "bfloat16")),
    (["--compute-dtype", "int8"], ("--compute-dtype", "bfloat16", "found int8")),
    (["--device", "tpu"], ("--device", "cuda:N", "found tpu")),
    (["--device", "cuda:x"], ("--device", "cuda:N", "found cuda:x")),
    (["--device", "meta"], ("--device", "cuda:N", "found meta")),
    (["--max-shard-size", "0"], ("--max-shard-size", "5GB", "found '0'")),
    (["--max-shard-size", "big"], ("--max-shard-size", "5GB", "found 'big'")),
    (["--activation-memory", "-1GB"], ("--activation-memory", "5GB", "found '-1GB'")),
    (["--batch-tokens", "0"], ("--batch-tokens", "1", "prune --help")),
    (["--sparcity", "0.5"], ("--sparcity", "--sparsity", "prune --help")),
    (["--skip-first-tokens", "32"], ("skip_first_tokens", "fewer than the 32", "found 32")),
    (["--skip-first-tokens", "-1"], ("skip_first_tokens", "found -1")),
    (["--criterion-option", "norms=big"], ("norms", "raw, normalised", "'big'")),
    (["--exclude", "kproj,v_proj"], ("--exclude", "found kproj,", "layers.0.self_attn.k_proj")),
    (["--exclude", "model.layers[0].mlp.down_proj"], ("nearest: model.layers.0.mlp.down_proj",)),
    (["--exclude", "*k_proj*"], ("exclude", "a bare * is written .*")),
    (["--include", "mlp", "--include", "lm_head"], ("--include", "found lm_head", "never pruned")),
    (["surplus"], ("surplus", "prune --help")),
]


@pytest.mark.parametrize(("words", "says"), OPTIONS, ids=[" ".join(o[0]) for o in OPTIONS])
def test_a_bad_option_of_prune(bench: Bench, words: list[str], says: tuple[str, ...]) -> None:
    bench.refuse(bench.prune(*words), *says)


@pytest.mark.parametrize(
    "words", [o[0] for o in OPTIONS if o[0] != ["surplus"]][::4], ids=lambda w: " ".join(w)
)
def test_plan_refuses_what_prune_refuses(bench: Bench, words: list[str]) -> None:
    given = bench.prune(*words)
    bench.refuse(
        ["plan", *given[1:2], *given[4:]], words[0].lstrip("-").split("-")[0].split("=")[0]
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["prune", "x"], ("--out", "prune --help")),
        (["prune"], ("model", "prune --help")),
        (["prnue"], ("prnue", "prune", "mwanda --help")),
        (["ls"], ("what", "ls --help")),
        (["ls", "criterions"], ("'criterions'", "did you mean 'criteria'?", "patterns")),
        (["verify"], ("folder", "verify --help")),
        (["eval", "x"], ("--text", "eval --help")),
        (["--nonsense"], ("--nonsense", "mwanda --help")),
    ],
)
def test_a_command_that_cannot_be(bench: Bench, words: list[Any], says: tuple[str, ...]) -> None:
    bench.refuse(words, *says)


@pytest.mark.parametrize("criterion", ["wanda", "m-wanda"])
def test_a_criterion_that_needs_text_says_so(bench: Bench, criterion: str) -> None:
    words = bench.prune("--criterion", criterion, calibrated=False)
    bench.refuse(words, "--calibration", f"text for criterion {criterion}", "found none", "<tag>")


# --- recipes ---


def test_a_recipe_with_three_mistakes_names_all_three(bench: Bench) -> None:
    path = bench.recipe("sparsity: 2\ncriterion: wnda\nwindoes: 4\n")
    ran = bench.refuse(bench.prune("--recipe", path), lines=3)
    for line, parts in zip(
        sorted(ran.err.splitlines()),
        [("criterion", "'wnda'", "'wanda'"), ("sparsity", "found 2"), ("windoes", "'windows'")],
        strict=True,
    ):
        assert str(path) in line
        assert all(part in line for part in parts)


RECIPES = [
    ("sparsty: 0.5", ("sparsty", "unknown field", "did you mean 'sparsity'?")),
    ("a: [", ("YAML", "line 1")),
    ("- sparsity", ("a mapping of recipe fields", "['sparsity']")),
    ("just words", ("a mapping of recipe fields", "just words")),
    ("{1: 2}", ("a mapping of recipe fields",)),
    ("criterion: 5", ("criterion", "found 5")),
    ("criterion: {name: wanda, power: 2}", ("wanda", "power")),
    ("criterion: {}", ("criterion.name",)),
    ("languages: {de: 1}", ("languages: expected a list such as [de, fr, sw]", "found {'de': 1}")),
    ("languages: [true]", ("languages.0", "text", "found true")),
    ("language_weights: [1]", ("language_weights",)),
    ("sparsity: lots", ("sparsity", "number", "found lots")),
    ("x: !!python/object/apply:os.system ['true']", ("YAML", "os.system")),
    ("a: \x07", ("YAML",)),
]


@pytest.mark.parametrize(("text", "says"), RECIPES, ids=[r[0] for r in RECIPES])
def test_a_bad_recipe(bench: Bench, text: str, says: tuple[str, ...]) -> None:
    path = bench.recipe(text)
    bench.refuse(bench.prune("--recipe", path), str(path), *says)


def test_a_recipe_that_cannot_be_read(bench: Bench) -> None:
    no = bench.root / "no.yaml"
    bench.refuse(bench.prune("--recipe", no), str(no), "a recipe file", "No such file")
    bench.refuse(bench.prune("--recipe", bench.root), str(bench.root), "directory")
    no.write_bytes(b"\xff\xfe\xff")
    bench.refuse(bench.prune("--recipe", no), str(no), "UTF-8", "byte 0")


# --- the other commands ---


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--ids", "x"], ("--ids", "LOWEST:HIGHEST", "found x")),
        (["--ids", "3"], ("--ids", "LOWEST:HIGHEST", "found 3")),
        (["--ids", "9:3"], ("--ids", "LOWEST:HIGHEST", "found 9:3")),
        (["--ids", "1:2", "--languages", "de"], ("--ids", "de", "integer id")),
        (["--fail-if-worse-than", "5%"], ("--fail-if-worse-than", "--baseline", "none")),
        (["--fail-if-worse-than", "x", "--baseline", "y"], ("--fail-if-worse-than", "5%", "x")),
        (["--language", "sw=2%"], ("--language", "--baseline", "none")),
        (["--language", "sw", "--baseline", "y"], ("--language", "sw=2%")),
        (["--languages", "zu"], ("'zu'", "de, sw", "add its text")),
        (["--languages", "xx1"], ("'xx1'", "language tag")),
        (["--sentences", "0"], ("--sentences", "eval --help")),
        (["--max-length", "1"], ("--max-length", "eval --help")),
        (["--device", "tpu"], ("--device", "found tpu")),
        (["--baseline", "/no/where"], ("/no/where", "found nothing there")),
    ],
    ids=lambda w: " ".join(w),
)
def test_a_bad_option_of_eval(bench: Bench, words: list[str], says: tuple[str, ...]) -> None:
    given = ["eval", bench.source, "--text", bench.corpus, "--no-generate", *words]
    bench.refuse(given, *says)


def test_a_card_is_updated_only_in_a_folder(bench: Bench) -> None:
    words = ["eval", "org/model", "--text", bench.corpus, "--update-card"]
    bench.refuse(words, "--update-card", "mwanda wrote", "org/model")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--windows", "0"], ("windows", "at least 1", "found 0")),
        (["--window-length", "1"], ("length", "at least 2", "found 1")),
        (["--seed", "-1"], ("--seed", "from 0", "found -1")),
        (["--languages", "fr"], ("'fr'", "de, sw")),
        (["--windows", "9999", "--languages", "de"], ("'de'", "tokens", "add text")),
    ],
)
def test_a_bad_option_of_windows(bench: Bench, words: list[str], says: tuple[str, ...]) -> None:
    given = ["windows", bench.source, "--out", bench.root / "w.safetensors"]
    given += ["--calibration", bench.corpus, *SMALL]
    bench.refuse([*given, *words], *says)
    bench.refuse([*given[:4]], "--calibration", "found none")
