"""A recipe is refused with every mistake at once, or comes out with nothing left open."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from mwanda.errors import InputError
from mwanda.methods.kinds import defaults_of
from mwanda.methods.registry import ALLOCATIONS, CRITERIA
from mwanda.pruning.given_arguments import recipe_given
from mwanda.pruning.recipe.asked import Recipe
from mwanda.pruning.recipe.recovery import AfterPrune
from mwanda.pruning.recipe.resolved import ResolvedRecipe, resolve
from mwanda.pruning.recipe.yaml_file import load_recipe


def build(**fields: Any) -> ResolvedRecipe:
    return resolve(Recipe.build(fields))


def problems(**fields: Any) -> tuple[str, ...]:
    with pytest.raises(InputError) as error:
        build(**fields)
    return error.value.problems


def test_every_mistake_is_named_at_once() -> None:
    found = problems(
        sparsity=1.2,
        pattern="2:5:7",
        criterion="wnada",
        allocation={"name": "owl", "widht": 0.1},
        mode="both",
        languages=["de", "xx-klingon"],
        language_weights={"de": -1},
        windows=0,
        window_length=1,
        seed=-1,
        include=["("],
        skip_blocks=["first"],
        dtype="float8",
        sparsty=0.5,
    )
    places = [
        "sparsity", "pattern", "criterion", "allocation", "mode", "languages",
        "language_weights.de", "windows", "window_length", "seed", "include", "skip_blocks.0",
        "dtype", "sparsty",
    ]  # fmt: skip
    assert len(found) == len(places)
    for place in places:
        assert any(line.startswith(f"recipe: {place}: ") for line in found), place
    text = " | ".join(found)
    for hint in ("did you mean 'wanda'", "did you mean 'width'", "did you mean 'sparsity'"):
        assert hint in text
    assert "found 1.2" in text


@pytest.mark.parametrize("value", [1, 1.0, -0.1, float("nan"), float("inf"), "half"])
def test_a_sparsity_is_a_share_below_one(value: Any) -> None:
    assert len(problems(sparsity=value)) == 1


def test_defaults_are_filled_in() -> None:
    recipe = build()
    assert (recipe.sparsity, recipe.pattern, recipe.mode) == (0.5, "unstructured", "dense")
    assert recipe.criterion.name == "m-wanda"
    assert recipe.criterion.options == defaults_of(CRITERIA["m-wanda"])
    assert recipe.allocation.name == "measured"
    assert recipe.allocation.options == defaults_of(ALLOCATIONS["measured"])
    assert recipe.allocation_level == "role"
    assert recipe.needs_text
    assert build(**recipe.model_dump()) == recipe
    assert build(**recipe.model_dump(mode="json")) == recipe


def test_saved_statistics_have_defaults_of_their_own() -> None:
    """No block can be run from them."""
    recipe = resolve(Recipe.build({"sparsity": 0.9}), saved=True)
    assert (recipe.mode, recipe.allocation.name) == ("dense", "cwl")
    assert recipe.allocation_level == "block"
    named = resolve(Recipe.build({"allocation": "measured"}), saved=True)
    assert named.allocation.name == "measured"  # to be refused, not replaced


def test_defaults_of_a_recipe_give_way_to_those_of_saved_statistics() -> None:
    asked = Recipe.build({"sparsity": 0.9, "criterion": "wanda"})
    recipe = resolve(asked)
    assert recipe.asked.model_dump(exclude_unset=True) == {
        "sparsity": 0.9, "criterion": {"name": "wanda", "options": {"norms": "raw"}},
    }  # fmt: skip
    again = resolve(recipe, saved=True)
    assert again == resolve(asked, saved=True)
    assert again != recipe


def test_what_was_asked_for_keeps_its_holes() -> None:
    recipe = Recipe.build({"languages": ["de"]})
    assert (recipe.sparsity, recipe.allocation, recipe.mode) == (None, None, None)
    assert resolve(recipe).asked == recipe


def test_a_recipe_made_by_hand_is_checked_when_it_is_resolved() -> None:
    with pytest.raises(InputError, match="skip_first_tokens: expected fewer"):
        resolve(Recipe(skip_first_tokens=9, window_length=9))


@pytest.mark.parametrize("name", ["admm-gradual", "sparsegpt"])
def test_a_reconstruction_with_a_mask_of_its_own_refuses_the_whole_matrix(name: str) -> None:
    [problem] = problems(pattern="unstructured-matrix", reconstruction=name)
    assert f"found {name}, which chooses its own" in problem
    build(pattern="unstructured-matrix", reconstruction="admm")


def test_options_stay_and_the_others_are_filled_in() -> None:
    recipe = build(
        criterion={"name": "m-wanda", "activity_weight": 0.25},
        allocation={"name": "owl", "options": {"width": 0.1}},
    )
    wanted = defaults_of(CRITERIA["m-wanda"]) | {"activity_weight": 0.25}
    assert recipe.criterion.options == wanted
    assert recipe.allocation.options == {"outlier": 5.0, "width": 0.1}


@pytest.mark.parametrize(
    ("fields", "allocation", "needs_text"),
    [
        ({"criterion": "magnitude"}, "uniform", False),
        ({"criterion": "magnitude", "allocation": "cwl"}, "cwl", True),
        ({"criterion": "wanda"}, "measured", True),
        ({"criterion": "wanda", "allocation": "uniform"}, "uniform", True),
        ({"sparsity": 0}, "uniform", False),
        ({"sparsity": 0, "allocation": "owl"}, "owl", False),
        ({"pattern": "2:4"}, "uniform", True),
        ({"pattern": "4:4"}, "uniform", False),
    ],
)
def test_text_is_asked_for_only_where_it_is_looked_at(
    fields: dict[str, Any], allocation: str, needs_text: bool
) -> None:
    recipe = build(**fields)
    assert recipe.allocation.name == allocation
    assert recipe.needs_text is needs_text


@pytest.mark.parametrize(
    ("pattern", "sparsity"), [("2:4", 0.5), ("4:8", 0.5), ("1:4", 0.75), ("1:3", 1 - 1 / 3)]
)
def test_a_pattern_fixes_the_sparsity(pattern: str, sparsity: float) -> None:
    assert build(pattern=pattern).sparsity == sparsity
    assert build(pattern=pattern, sparsity=sparsity, allocation="uniform").sparsity == sparsity
    wrong = problems(pattern=pattern, sparsity=0.6, allocation="owl")
    assert len(wrong) == 2
    assert f"expected {sparsity:g}, the only one of pattern {pattern}, found 0.6" in wrong[0]
    assert f"expected uniform with pattern {pattern}" in wrong[1]


def test_languages_are_canonical_and_each_once() -> None:
    recipe = build(languages=["DE", "swa", "zho_Hans"], language_weights={"deu": 2, "SW": 0})
    assert recipe.languages == ("de", "sw", "zh")
    assert recipe.language_weights == {"de": 2.0, "sw": 0.0}
    assert "each language once, found de" in problems(languages=["de", "deu"])[0]
    assert "found none" in problems(languages=[])[0]
    stray = problems(languages=["de"], language_weights={"fr": 1})
    assert "expected languages among de, found fr" in stray[0]
    assert "found all 0" in problems(languages=["de"], language_weights={"de": 0})[0]


def test_a_recipe_is_frozen() -> None:
    with pytest.raises(ValidationError):
        build().sparsity = 0.1


def test_the_source_is_named() -> None:
    with pytest.raises(InputError, match=r"^my\.yaml: windows: "):
        Recipe.build({"windows": 0}, "my.yaml")


def test_yaml(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "sparsity: 0.6\ncriterion: {name: m-wanda, activity_weight: 0}\nallocation: owl\n"
        "languages: [de, sw]\nskip_blocks: [0]\n",
        encoding="utf-8",
    )
    recipe = Recipe.build(load_recipe(path))
    assert (recipe.sparsity, recipe.languages, recipe.skip_blocks) == (0.6, ("de", "sw"), (0,))
    assert recipe.criterion.options["activity_weight"] == 0
    path.write_text("", encoding="utf-8")
    assert load_recipe(path) == {}


def test_a_pattern_needs_no_quotes_in_yaml(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("pattern: 2:4\n", encoding="utf-8")
    assert Recipe.build(load_recipe(path)).pattern == "2:4"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[1, 2]", "a mapping of recipe fields"),
        (b"1: 2", "a mapping of recipe fields"),
        (b"a: [", "expected YAML"),
        (b"a: \xff", "expected UTF-8, found byte 3 is not"),
        (b"a: !!python/object/apply:os.getcwd []", "expected YAML"),
        (None, "expected a recipe file, found No such file"),
    ],
)
def test_what_is_not_a_recipe_file(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "r.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_recipe(path)


@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        ({}, "dense"),
        ({"sparsity": 0.35}, "dense"),
        ({"sparsity": 0.55}, "dense"),
        ({"sparsity": 0.3}, "sequential"),
        ({"sparsity": 0.6}, "sequential"),
        ({"pattern": "2:4"}, "dense"),
        ({"sparsity": 0.4, "reconstruction": "admm"}, "dense"),
        ({"sparsity": 0.5, "reconstruction": "admm"}, "sequential"),
        ({"pattern": "2:4", "reconstruction": "sparsegpt"}, "sequential"),
        ({"pattern": "1:4"}, "sequential"),
        ({"sparsity": 0.0}, "dense"),
        ({"sparsity": 0.3, "mode": "dense"}, "dense"),
        ({"sparsity": 0.5, "mode": "sequential"}, "sequential"),
    ],
)
def test_the_mode_follows_from_the_sparsity(fields: dict[str, Any], mode: str) -> None:
    assert build(**fields).mode == mode


def written(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    return Recipe.build(load_recipe(path), "r.yaml")


@pytest.mark.parametrize("no", ["no", "No", "NO", "'no'"])
def test_norwegian_in_yaml(tmp_path: Path, no: str) -> None:
    """YAML 1.1 reads no, on, y and the like as truth values."""
    made = written(tmp_path, f"languages: [{no}, sv]\nlanguage_weights: {{{no}: 2, sv: 1}}\n")
    assert made.languages == ("nb", "sv")
    assert made.language_weights == {"nb": 2.0, "sv": 1.0}


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("languages: sv", {"languages": ("sv",)}),
        ("languages: no", {"languages": ("nb",)}),
        ("languages: de, sw", {"languages": ("de", "sw")}),
        ("skip_blocks: 3", {"skip_blocks": (3,)}),
        ("skip_blocks: 0,17", {"skip_blocks": (0, 17)}),
        ("exclude: k_proj", {"exclude": ("k_proj",)}),
        ("seed: 017", {"seed": 17}),
        ("windows: 1e1", {"windows": 10}),
        ("sparsity: 4e-1", {"sparsity": 0.4}),
        ("sparsity: .25", {"sparsity": 0.25}),
    ],
)
def test_a_value_in_yaml_is_what_it_looks_like(
    tmp_path: Path, text: str, fields: dict[str, Any]
) -> None:
    made = written(tmp_path, text)
    assert {name: getattr(made, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("languages: 2024-01-01", "languages: language '2024-01-01'"),
        ("languages: {no: 2}", "languages: expected a list such as [de, fr, sw], found {'no': 2}"),
        ("languages: true", "languages: expected a list such as [de, fr, sw], found true"),
        ("languages: [true, sv]", "languages.0: expected text, found true"),
        ("language_weights: no", "expected a mapping such as {de: 2, sw: 1}, found no"),
        ("language_weights: {no: yes}", "language_weights.no: expected a number, found yes"),
        ("language_weights: {no: true}", "language_weights.no: expected a number, found true"),
        ("windows: true", "windows: expected a whole number, found true"),
        ("windows: off", "windows: expected a whole number, found off"),
        ("windows: 1.5", "windows: expected a whole number, found 1.5"),
        ("windows: 0", "windows: expected 1 or more, found 0"),
        ("sparsity: off", "sparsity: expected a number, found off"),
        ("sparsity: 1", "sparsity: expected a number less than 1"),
        ("mode: on", "mode: expected 'sequential' or 'dense', found on"),
        ("pattern: 24", "pattern: expected text, found 24"),
        ("criterion: 5", "criterion: expected a name, or {name: …, OPTION: …}, found 5"),
        ("criterion: {activity_weight: 1}", "criterion.name: expected text, found nothing"),
        ("skip_blocks: [first]", "skip_blocks.0: expected a whole number, found first"),
        ("exclude: {a: b}", "exclude: expected a list such as [k_proj, v_proj], found {'a': 'b'}"),
        ("exclude: '*k_proj*'", "a bare * is written .*"),
        ("exclude: 'k_proj,'", "found an empty one"),
        ("sparsity: 0.5\nsparsity: 0.7", "sparsity twice, again in line 2"),
        ("language_weights: {sv: 1, sv: 2}", "sv twice"),
    ],
)
def test_a_wrong_value_is_told_in_the_words_of_the_docs(
    tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(InputError) as error:
        written(tmp_path, text)
    [problem] = error.value.problems
    assert says in problem
    assert "nput should be" not in problem
    assert "tuple" not in problem


@pytest.mark.parametrize(
    ("fields", "made"),
    [
        ({"languages": "de"}, {"languages": ("de",)}),
        ({"languages": "de,sw"}, {"languages": ("de", "sw")}),
        ({"languages": ("de", "sw")}, {"languages": ("de", "sw")}),
        ({"languages": {"sw", "de", "fr"}}, {"languages": ("de", "fr", "sw")}),
        ({"languages": (tag for tag in ("de", "sw"))}, {"languages": ("de", "sw")}),
        ({"sparsity": "0.5", "windows": "8"}, {"sparsity": 0.5, "windows": 8}),
        ({"exclude": "re:.*k_proj"}, {"exclude": (".*k_proj",)}),
        ({"exclude": ["re:k_proj,re:v_proj"]}, {"exclude": ("k_proj", "v_proj")}),
        ({"exclude": r"\.\d{1,2}\.(k|v)_proj"}, {"exclude": (r"\.\d{1,2}\.(k|v)_proj",)}),
        ({"exclude": "layers.[0,1].mlp,v_proj"}, {"exclude": ("layers.[0,1].mlp", "v_proj")}),
        ({"exclude": "(k|(v,))_proj"}, {"exclude": ("(k|(v,))_proj",)}),
        ({"exclude": "a.(x,(y))"}, {"exclude": ("a.(x,(y))",)}),
        ({"skip_blocks": range(2)}, {"skip_blocks": (0, 1)}),
    ],
)
def test_fields_as_people_write_them(fields: dict[str, Any], made: dict[str, Any]) -> None:
    recipe = build(**fields)
    assert {name: getattr(recipe, name) for name in made} == made


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("languages: 'de,'", "expected a value between commas, found none in 'de,'"),
        ("skip_blocks: 0-1", "skip_blocks.0: expected a whole number, found 0-1"),
        ("skip_blocks: 0_1", "skip_blocks.0: expected a whole number, found 0_1"),
        ("keep_english: yes", "keep_english: expected true or false, found yes"),
        ("keep_english: 1", "keep_english: expected true or false, found 1"),
        ("reconstruction: no", ", or none"),
    ],
)
def test_words_that_only_look_like_a_value(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        written(tmp_path, text)
    [problem] = error.value.problems
    assert says in problem


def test_a_recovery_is_a_field_with_settings_of_its_own() -> None:
    assert Recipe.build({"recover": True}).recover == AfterPrune()
    assert Recipe.build({"recover": {"steps": 3}}).recover == AfterPrune(steps=3)
    for reporters, written in ((("wandb",), "wandb"), (("wandb", "mlflow"), ["wandb", "mlflow"])):
        made = Recipe.build({"recover": {"report_to": written}})
        assert made.recover == AfterPrune(report_to=reporters)
    assert Recipe.build({"recover": {"background_weight": "30%"}}).recover == AfterPrune(
        background_weight=0.3
    )
    assert Recipe.build({"recover": False}).recover is None
    for wrong, told in (
        ({"stesp": 3}, "recover.stesp: unknown field; did you mean 'steps'?"),
        ({"steps": "many"}, "recover.steps: expected a whole number, found many"),
        ({"steps": np.bool_(True)}, "recover.steps: expected a whole number, found True"),
        ({"steps": b"3"}, "recover.steps: expected a whole number, found b'3'"),
        ({"learning_rate": "1_0"}, "recover.learning_rate: expected a number, found 1_0"),
        ({"at_once": 3}, "recover.at_once: expected a number that divides the batch of 1, found 3"),
        (3, "recover: expected true, false, or settings such as {steps: 960}, found 3"),
        ({3: 1}, "recover.3: unknown field; choose one of at_once, "),
        ({"train_embeddings": "no"}, "train_embeddings: expected true or false, found no"),
        ({"train_embeddings": "true"}, "train_embeddings: expected true or false, found 'true'"),
        ({"never_worse": 1}, "recover.never_worse: expected true or false, found 1"),
        ({"windows": 0}, "recover.windows: expected 1 or more, found 0"),
        ({"background_windows": True}, "recover.background_windows: expected a whole number"),
        ({"background_weight": 1}, "background_weight: expected a number less than 1, found 1"),
        ({"background_weight": 0}, "background_weight: expected a number above 0, found 0"),
        ({"background_weight": -0.1}, "background_weight: expected a number above 0, found -0.1"),
        ({"report_to": None}, "recover.report_to: expected a list such as [tensorboard]"),
        ({"report_to": 5}, "recover.report_to.0: expected text"),
    ):
        with pytest.raises(InputError, match=re.escape(told)):
            Recipe.build({"recover": wrong})
    with pytest.raises(InputError, match="recover: expected a sparsity above 0, found 0"):
        Recipe.build({"recover": True, "sparsity": 0})
    magnitude = resolve(Recipe.build({"criterion": "magnitude", "recover": True}))
    assert magnitude.needs_text


def test_a_recovery_that_is_asked_for_again_keeps_its_settings() -> None:
    written = {"recover": {"steps": 3}}
    for recipe in (written, Recipe.build(written)):
        assert recipe_given(recipe, {"recover": True}, "prune").recover == AfterPrune(steps=3)
        assert recipe_given(recipe, {"recover": False}, "prune").recover is None
        assert recipe_given(recipe, {"recover": {"batch": 4}}, "prune").recover == AfterPrune(
            batch=4
        )
    assert recipe_given({"recover": False}, {"recover": True}, "prune").recover == AfterPrune()
