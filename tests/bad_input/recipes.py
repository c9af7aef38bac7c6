"""Recipes that cannot be: the file, the field, and what is wrong with it."""

from __future__ import annotations

from tests.bad_input.case import Case
from tests.bad_input.models import own_code
from tests.bad_input.place import Place

__all__ = ["RECIPES"]


def _recipe_with_own_code(place: Place) -> list[object]:
    words = own_code(place)
    return [*words, "--recipe", place.written("recipe.yaml", "trust_remote_code: true\n")]


def recipe(what: str, text: str | bytes, *says: str, lines: int = 1) -> Case:
    return Case(f"recipe: {what}", lambda p: p.recipe(text), ("recipe.yaml", *says), lines)


BOMB = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)

RECIPES = [
    recipe("an unknown field", "sparsty: 0.5", "sparsty: unknown", "did you mean 'sparsity'?"),
    recipe(
        "three mistakes", "sparsity: 2\ncriterion: wnda\nwindoes: 4", "recipe.yaml: criterion",
        "'wnda'", "'wanda'", "recipe.yaml: sparsity", "found 2", "recipe.yaml: windoes",
        "'windows'", lines=3,
    ),
    recipe("a list", "- sparsity", "a mapping of recipe fields", "['sparsity']"),
    recipe("a text", "just words", "a mapping of recipe fields", "just words"),
    recipe("keys that are no texts", "{1: 2}", "a mapping of recipe fields"),
    recipe("no YAML", "a: [", "expected YAML", "line 1"),
    recipe("not UTF-8", b"\xff\xfe\xff", "expected UTF-8", "byte 0"),
    recipe("control characters", "a: \x07", "expected YAML"),
    recipe("brackets without end", "a: " + "[" * 50_000, "expected YAML"),
    recipe("a megabyte", "# " + "x" * (1 << 20), "more than 1048576 bytes"),
    recipe("aliases that multiply", BOMB, "expected YAML", "an alias"),
    recipe("a list of aliases", f"- &a [x]\n{'- *a' * 9}", "expected YAML"),
    recipe("a number of 5000 digits", f"seed: {'9' * 5000}", "expected YAML"),
    recipe("Python to be run", "x: !!python/object/apply:os.system ['true']", "YAML", "os.system"),
    recipe("a Python name", "x: !!python/name:os.system", "YAML"),
    recipe("a tag of its own", "x: !include /etc/passwd", "YAML"),
    recipe("NaN", "sparsity: .nan", "sparsity", "finite"),
    recipe("infinity", "sparsity: .inf", "sparsity"),
    recipe("beyond 1", "sparsity: 1.5", "sparsity", "less than 1"),
    recipe("a truth for a number", "sparsity: yes", "sparsity", "a number"),
    recipe("a text for a number", "seed: many", "seed", "found many"),
    recipe("a text for a share", "sparsity: lots", "sparsity", "number", "found lots"),
    recipe("a number for a text", "criterion: 5", "criterion", "found 5"),
    recipe("a method without a name", "criterion: {}", "criterion.name"),
    recipe("an unknown method", "criterion: wnda", "'wnda'", "did you mean 'wanda'?"),
    recipe("an unknown option", "criterion: {name: wanda, power: 2}", "wanda", "power"),
    recipe("an option of another type", "criterion: {name: ria, power: x}", "power", "'x'"),
    recipe("a negative option", "criterion: {name: ria, power: -1}", "power"),
    recipe("no language", "languages: [xx1]", "languages", "'xx1'"),
    recipe("a language twice", "languages: [de, deu]", "languages", "once"),
    recipe("languages that are no list", "languages: {de: 1}",
           "languages: expected a list such as [de, fr, sw]", "found {'de': 1}"),
    recipe("a truth for a language", "languages: [true]", "languages.0", "text", "found true"),
    recipe("weights that are a list", "language_weights: [1]", "language_weights"),
    recipe("NaN for a weight", "language_weights: {de: .nan}", "language_weights.de"),
    recipe("no expression", "include: ['(']", "include", "regular expressions"),
    recipe("a pattern that is none", "pattern: '9:4'", "pattern", "N:M"),
    recipe("an unknown dtype", "dtype: int4", "dtype", "bfloat16"),
    recipe("code of the model's own", "trust_remote_code: true", "trust_remote_code: unknown"),
    recipe("another model", "model: ../../other", "model: unknown field"),
    recipe("another output", "out: /tmp/elsewhere", "out: unknown field"),
    recipe("text from elsewhere", "calibration: /etc", "calibration: unknown field"),
    recipe("statistics from elsewhere", "statistics: /etc/passwd", "statistics: unknown field"),
    recipe("overwriting", "overwrite: true", "overwrite: unknown field"),
    recipe("a path for a method", "criterion: ../../x.py", "'../../x.py'", "a known name"),
    recipe("a module for a method", "criterion: os.system", "'os.system'", "a known name"),
    Case(
        "recipe: missing",
        lambda p: p.prune(None, "--recipe", p.root / "no.yaml"),
        ("{root}/no.yaml", "a recipe file", "No such file"),
    ),
    Case("recipe: a folder", lambda p: p.prune(None, "--recipe", p.root), ("{root}", "directory")),
    Case(
        "recipe: code of the model's own, and such a model",
        _recipe_with_own_code,
        ("trust_remote_code: unknown field",),
    ),
]  # fmt: skip
