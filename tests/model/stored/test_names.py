"""Names of the module against names of the checkpoint."""

from __future__ import annotations

import pytest

from mwanda.errors import InputError
from mwanda.model.stored.conversion import NameMap


def test_a_name_is_found_as_it_is_with_and_without_the_prefix() -> None:
    whole = NameMap(["transformer.h.0.w", "lm_head.w"], "transformer", "x")
    assert whole.find("transformer.h.0.w") == "transformer.h.0.w"
    assert whole.find("h.0.w") == "transformer.h.0.w"
    assert whole.find("lm_head.w") == "lm_head.w"
    bare = NameMap(["h.0.w", "lm_head.w"], "transformer", "x")
    assert bare.find("transformer.h.0.w") == "h.0.w"
    assert bare.find("lm_head.w") == "lm_head.w"


def test_its_own_name_wins() -> None:
    names = NameMap(["model.w", "w", "model.model.w"], "model", "x")
    assert names.find("model.w") == "model.w"
    assert names.find("w") == "w"


def test_nothing_else_is_guessed() -> None:
    names = NameMap(["models.w", "other.v"], "model", "x")
    assert names.find("w") is None
    assert names.find("v") is None
    assert names.find("model.v") is None


def test_without_a_prefix_only_the_name_itself_counts() -> None:
    assert NameMap([".w"], "", "x").find("w") is None
    assert NameMap(["w"], "", "x").find("w") == "w"


def test_a_tied_weight_is_found_by_any_of_its_names() -> None:
    names = NameMap(["model.embed.weight"], "model", "x")
    assert names.require(["lm_head.weight", "model.embed.weight"]) == "model.embed.weight"


def test_a_missing_weight_is_named_with_an_example_of_what_there_is() -> None:
    with pytest.raises(InputError, match=r"/m: tensor a\.w: expected .* found no tensor .*zz\.w"):
        NameMap(["zz.w"], "model", "/m").require(["a.w", "b.w"])
    with pytest.raises(InputError, match="nothing"):
        NameMap([], "model", "/m").require(["a.w"])
