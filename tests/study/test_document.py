"""A study's document: what it asks for, and every mistake told at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mwanda import InputError
from mwanda.study.document import load_study
from mwanda.study.grid import points
from mwanda.study.study_plan import make_plan
from tests.study.helpers import Lab

LEAST = "models: [org/one]\nevaluation: {text: bundled:udhr/second}\n"


def grid(tmp_path: Path, text: str) -> list[tuple[str, float, int | None]]:
    path = tmp_path / "s.yaml"
    least = [line for line in LEAST.splitlines(True) if line.split(":")[0] != text.split(":")[0]]
    path.write_text("".join(least) + text, encoding="utf-8")
    document, _ = load_study(path)
    found, problems = points(document, "s")
    if problems:
        raise InputError.several(problems)
    return [(p.method, p.sparsity, p.seed) for p in found]


def refused(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(InputError) as error:
        grid(tmp_path, text)
    return list(error.value.problems)


def test_the_least_that_can_be_said(tmp_path: Path) -> None:
    assert grid(tmp_path, "") == [("m-wanda", 0.5, 0)]
    document, text = load_study(tmp_path / "s.yaml")
    assert document.models == {"one": "org/one"}
    assert document.languages == {"all": None}
    assert text == LEAST


def test_a_name_stands_for_one_recipe_whatever_the_sparsity(tmp_path: Path) -> None:
    own = "criterion: wanda, allocation: uniform, sparsity: 0.7, languages: [en]"
    (problem,) = refused(
        tmp_path, f"criteria: wanda\nallocations: uniform\nmethods: {{wanda: {{{own}}}}}\n"
    )
    assert "expected one name for one recipe, found 'wanda' for two" in problem
    plain = "criteria: wanda\nsparsities: [0, 0.5]\nlanguages: {a: [en], b: [sw]}\n"
    assert {name for name, _, _ in grid(tmp_path, plain)} == {"wanda", "wanda, a", "wanda, b"}


@pytest.mark.parametrize(
    "text",
    ["methods: {dense: {}}\n", "quantised: [Q8_0]\nmethods: {Q8_0: {}}\n",
     "criteria: wanda\nartefacts: {wanda: {path: x}}\n"],
)  # fmt: skip
def test_a_method_has_no_name_that_means_something_else(tmp_path: Path, text: str) -> None:
    (problem,) = refused(tmp_path, text)
    assert "expected another name than the dense model's, a form's or an artefact's" in problem


def test_every_combination_once(tmp_path: Path) -> None:
    found = grid(
        tmp_path,
        "criteria: [wanda, {name: m-wanda, activity_weight: 0}]\n"
        "allocations: [uniform, cwl]\npatterns: [unstructured, '2:4']\n"
        "sparsities: [0.3, 0.5]\nseeds: [0, 1]\nlanguages: {en: [en], both: [en, sw]}\n",
    )
    names = {name for name, _, _ in found}
    assert len(found) == len(set(found))
    assert names == {
        f"{criterion}{rest}, {tags}"
        for criterion in ("wanda", "m-wanda(activity_weight=0)")
        for rest in (" uniform", " cwl", " 2:4")  # 2:4 allots nothing
        for tags in ("en", "both")
    }
    free = [row for row in found if "2:4" not in row[0]]
    assert len(free) == 2 * 2 * 2 * 2 * 2
    assert {row[1:] for row in found if "2:4" in row[0]} == {(0.5, 0), (0.5, 1)}


def test_what_reads_no_text_is_one_cell(tmp_path: Path) -> None:
    found = grid(
        tmp_path, "criteria: [magnitude]\nseeds: [0, 1]\nlanguages: {en: [en], both: [en, sw]}\n"
    )
    assert found == [("magnitude", 0.5, None)]


def test_methods_by_name(tmp_path: Path) -> None:
    found = grid(
        tmp_path,
        "languages: {en: [en], both: [en, sw]}\nsparsities: [0.2, 0.4]\n"
        "methods:\n  English: {criterion: wanda, languages: en, windows: 9}\n"
        "  fixed: {sparsity: 0.7, seed: 3, languages: [sw]}\n  plain: {criterion: wanda}\n",
    )
    assert found == [
        ("English", 0.2, 0), ("English", 0.4, 0), ("fixed", 0.7, 3),
        ("plain, en", 0.2, 0), ("plain, both", 0.2, 0),
        ("plain, en", 0.4, 0), ("plain, both", 0.4, 0),
    ]  # fmt: skip


def test_a_method_begins_as_a_recipe(tmp_path: Path) -> None:
    """Whose pattern can fix the sparsity; then come the fields of all, then the method's own."""
    methods = (
        "methods: {two of four: {recipe: 2:4}, best: {recipe: best-quality, windows: 3},"
        " more: {recipe: best-quality, sparsity: 0.4}}\n"
    )
    assert grid(tmp_path, f"{methods}sparsities: [0.3, 0.6]\nrecipe: {{windows: 8}}\n") == [
        ("two of four", 0.5, 0), ("best", 0.3, 0), ("best", 0.6, 0), ("more", 0.4, 0),
    ]  # fmt: skip
    document, _ = load_study(tmp_path / "s.yaml")
    (_, best, _, more), _ = points(document, "s")
    assert (best.recipe.windows, more.recipe.windows) == (3, 8)
    assert best.recipe.reconstruction is not None
    assert best.recipe.reconstruction.name == "admm-gradual"


def test_one_of_anything_needs_no_list(tmp_path: Path) -> None:
    one = "criteria: wanda\nallocations: {name: owl, width: 0.1}\nsparsities: 0.3\nseeds: 4\n"
    assert grid(tmp_path, one + "patterns: unstructured\n") == [("wanda", 0.3, 4)]
    grid(tmp_path, "evaluation: {text: x, languages: no, task_languages: sv}\nlanguages: no\n")
    document, _ = load_study(tmp_path / "s.yaml")
    assert document.languages == {"all": ("no",)}
    assert document.evaluation.languages == ("no",)
    assert document.evaluation.task_languages == ("sv",)
    grid(tmp_path, "languages: {north: [no, sv], west: no}\nquantised: Q8_0\nkeep: no\n")
    document, _ = load_study(tmp_path / "s.yaml")
    assert document.languages == {"north": ("no", "sv"), "west": ("no",)}
    assert (document.quantised, document.keep) == (("Q8_0",), False)


def test_a_method_names_a_set_or_a_language(tmp_path: Path) -> None:
    text = "languages: {north: [no, sv]}\nmethods: {a: {languages: no}, b: {languages: north}}\n"
    assert {name for name, _, _ in grid(tmp_path, text)} == {"a", "b"}
    found, _ = points(load_study(tmp_path / "s.yaml")[0], "s")
    assert [p.recipe.languages for p in found] == [("nb",), ("nb", "sv")]


def test_statistics_are_dense_unless_said_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(LEAST + "sparsities: [0.2, 0.7]\nmethods: {a: {}, b: {mode: sequential}}\n")
    modes = {p.method: p.recipe.mode for p in points(load_study(path)[0], "s")[0]}
    assert modes == {"a": "dense", "b": "sequential"}


def test_a_method_that_recovers_keeps_the_settings_of_all(tmp_path: Path) -> None:
    methods = "methods: {a: {recover: true}, b: {recover: false}, c: {recover: {steps: 3}}}\n"
    path = tmp_path / "s.yaml"
    path.write_text(LEAST + "recipe: {recover: {steps: 7}}\n" + methods)
    steps = {p.method: p.recipe.recover for p in points(load_study(path)[0], "s")[0]}
    assert {name: one and one.steps for name, one in steps.items()} == {"a": 7, "b": None, "c": 3}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sparsity: 0.5", ["sparsity: unknown field", "did you mean 'sparsities'"]),
        ("sparsities: [1.5]", ["sparsities.0", "less than 1"]),
        ("sparsities: []", ["sparsities", "at least 1"]),
        ("criteria: [wonda]", ["criterion", "did you mean 'wanda'"]),
        ("methods: {a: {criterion: wanda, widnows: 3}}", ["methods.a.widnows", "'windows'"]),
        ("recipe: {sparsity: 0.5}", ["recipe.sparsity", "use sparsities"]),
        ("recipe: {criterion: wanda}", ["recipe.criterion", "use criteria"]),
        ("languages: [en, xx1]", ["languages", "xx1"]),
        ("methods: {a: {recipe: qick}}", ["methods.a: recipe: ", "did you mean 'quick'?"]),
        ("recipe: {recipe: quick}", ["recipe.recipe: expected none; write it in a method"]),
        ("methods: {a: {languages: nope}}", ["methods.a", "one of the sets all", "nope"]),
        ("evaluation: {text: x, sentence: 3}", ["evaluation.sentence", "'sentences'"]),
        ("models: {}", ["models", "at least 1"]),
        ("models: 7", ["models: expected a mapping, found 7"]),
        ("sparsities: [yes]", ["sparsities.0: expected a number, found yes"]),
        ("seeds: [true]", ["seeds.0: expected a whole number, found true"]),
        ("languages: 7", ["languages: expected a mapping such as [de, fr, sw], found 7"]),
        ("evaluation: x", ["evaluation: expected a mapping of its fields, found x"]),
        ("run: {batch_tokens: many}", ["run.batch_tokens: expected a whole number, found many"]),
        ("models: [a/x, b/x]", ["models", "NAME: MODEL"]),
        ("run: {compute: float32}", ["run.compute: unknown field", "'compute_dtype'"]),
        ("criteria: [wanda]\nmethods: {wanda: {criterion: m-wanda}}", ["one name", "'wanda'"]),
    ],
)
def test_a_mistake(tmp_path: Path, text: str, says: list[str]) -> None:
    problems = refused(tmp_path, text)
    assert len(problems) == 1
    for part in says:
        assert part in problems[0]


def test_a_mistake_in_many_cells_is_told_once_and_all_are(tmp_path: Path) -> None:
    problems = refused(
        tmp_path,
        "criteria: [wonda, wanda]\nsparsities: [0.2, 0.3]\nseeds: [0, 1]\n"
        "methods: {a: {allocation: owl, pattern: '2:4'}, b: {windows: 0}}\n",
    )
    assert len(problems) == 3


def test_everything_is_looked_up_before_any_work(lab: Lab) -> None:
    def problems(**fields: Any) -> list[str]:
        with pytest.raises(InputError) as error:
            make_plan(lab.document(**fields))
        return list(error.value.problems)

    found = problems(
        models={"gone": "/no/where", "tiny": str(lab.models["tiny"])},
        criteria=["wonda", "wanda"],
        languages=["de", "fr"],
        run={"device": "tpu", "activation_memory": "much"},
        evaluation={"text": str(lab.text), "languages": ["de", "zu"]},
    )
    text = "\n".join(found)
    for part in ("/no/where", "wonda", "fr", "tpu", "much", "zu"):
        assert part in text
    assert len(found) == 6
    assert all(str(lab.root / "study.yaml") in line for line in found)
    assert any("neighbours" in line for line in problems(
        evaluation={"text": str(lab.calibration), "neighbours": 5}))  # fmt: skip
    assert any("--calibration" in line for line in problems(calibration=None))


def test_names_of_linears_are_looked_up_in_every_model(lab: Lab) -> None:
    methods = {"a": {"exclude": ["kproj"]}, "b": {"skip_blocks": [9]}, "c": {"include": ["mlp"]}}
    with pytest.raises(InputError) as error:
        make_plan(lab.document(methods=methods))
    first, second = error.value.problems
    assert "models.tiny: --exclude: " in first
    assert "found kproj, which is in none" in first
    assert "models.tiny: --skip-blocks: " in second
