"""The model card: honest, well-formed, and updated in its own place only."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import mwanda
from mwanda.pruning.folder.card import BEGIN, END, update_card
from mwanda.pruning.folder.card_metadata import Loading, front_matter, loading_of, metadata
from tests.pruning.pipeline.helpers import windows_file

Tiny = Callable[..., Path]


def card_of(folder: Path) -> tuple[dict[str, Any], str]:
    _, front, body = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), body


def prune(source: Path, out: Path) -> Path:
    fields = {"criterion": "wanda", "allocation": "uniform"}
    mwanda.prune(source, out=out, calibration=windows_file(out.parent), **fields)
    return out


def test_a_card_says_what_was_done(tiny: Tiny, tmp_path: Path) -> None:
    front, body = card_of(prune(tiny("llama"), tmp_path / "out"))
    assert front["language"] == ["de", "sw"]
    assert front["library_name"] == "transformers"
    assert "pruned" in front["tags"]
    assert "base_model" not in front  # the hub would look for a folder of this machine
    assert front["pipeline_tag"] == "text-generation"
    for text in (
        "50.0% of the weights of 21 linears",
        "wanda",
        "uniform",
        "de (German)",
        "160 tokens",
    ):
        assert text in body
    assert BEGIN in body
    assert END in body


def test_no_folder_of_this_machine_is_published(tiny: Tiny, tmp_path: Path) -> None:
    assert str(tmp_path) not in (prune(tiny("llama"), tmp_path / "out") / "README.md").read_text()


def test_the_licence_is_carried_over_and_nothing_else(tiny: Tiny, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(tiny("llama"), source)
    (source / "README.md").write_text(
        "---\nlicense: gemma\nlicense_link: https://x.org/l\nmetrics: [best]\n---\n# Hi",
        encoding="utf-8",
    )
    front, body = card_of(prune(source, tmp_path / "out"))
    assert (front["license"], front["license_link"]) == ("gemma", "https://x.org/l")
    assert "metrics" not in front
    assert "# Hi" not in body


@pytest.mark.parametrize("readme", ["", "# no front matter", "---\n: [\n---\n", "---\nunclosed"])
def test_a_strange_card_of_the_source_does_no_harm(tiny: Tiny, tmp_path: Path, readme: str) -> None:
    source = tmp_path / "source"
    shutil.copytree(tiny("llama"), source)
    (source / "README.md").write_text(readme, encoding="utf-8")
    front, _ = card_of(prune(source, tmp_path / "out"))
    assert "license" not in front


def test_results_go_into_their_place_and_replace_older_ones(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"# Mine\nbefore\n{BEGIN}\n{END}\nafter\n", encoding="utf-8")
    update_card(tmp_path, "| old |")
    update_card(tmp_path, "| new |")
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# Mine\nbefore\n")
    assert text.endswith("\nafter\n")
    assert "| new |" in text
    assert "old" not in text
    assert (text.count(BEGIN), text.count(END)) == (1, 1)
    assert [p.name for p in tmp_path.iterdir()] == ["README.md"]


@pytest.mark.parametrize("text", ["# Mine, without a place\n", None])
def test_a_card_without_a_place_gets_one(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "README.md").write_text(text, encoding="utf-8")
    update_card(tmp_path, "| table |")
    update_card(tmp_path, "| newer |")
    found = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert found.startswith(text or BEGIN)
    assert found.count("| newer |") == 1
    assert "| table |" not in found


def test_nothing_after_a_lost_end_mark_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"a\n{BEGIN}\nb\n", encoding="utf-8")
    update_card(tmp_path, "| table |")
    assert "b" in (tmp_path / "README.md").read_text(encoding="utf-8").splitlines()


TEXT = Loading("AutoModelForCausalLM", False)


def test_languages_are_codes_and_their_scripts_and_regions_are_tags() -> None:
    tags = ["pt-BR", "zh-Hant", "sr-Latn", "sr", "fil", "nb", "ca-valencia"]
    made = metadata(tags, "a/b", None, TEXT)
    assert made["language"] == ["pt", "zh", "sr", "fil", "nb", "ca"]
    assert made["tags"][4:] == ["pt-BR", "zh-Hant", "sr-Latn", "ca-valencia"]
    assert (made["base_model"], made["base_model_relation"]) == ("a/b", "finetune")
    assert "language" not in metadata([], None, None, TEXT)
    private = metadata(["x-klingon", "de"], None, None, TEXT)
    assert (private["language"], private["tags"][4:]) == (["de"], ["x-klingon"])
    assert "language" not in metadata(["x-klingon"], None, None, TEXT)
    assert "base_model_relation" not in metadata([], None, None, TEXT)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("license: Apache-2.0", {"license": "apache-2.0"}),
        ("license: [mit, apache-2.0]", {"license": ["mit", "apache-2.0"]}),
        ("license: other\nlicense_name: x\nlicense_link: LICENSE",
         {"license": "other", "license_name": "x", "license_link": "LICENSE"}),
        ("license: Tongyi Qianwen (research)\nlicense_link: LICENSE",
         {"license": "other", "license_name": "tongyi-qianwen-research",
          "license_link": "LICENSE"}),
        ("license: [mit, Mine]", {"license": "other", "license_name": "mit-mine"}),
        ("license: 3", {"license": "other", "license_name": "3"}),
        ("license: no", {"license": "other", "license_name": "no"}),
        ("license: ~", {}),
        ("license: null", {}),
        ("license:", {}),
        ("license: \"\"", {}),
        ("license: {a: b}", {}),
    ],
)  # fmt: skip
def test_a_licence_is_one_that_the_hub_knows_or_other(theirs: str, ours: dict[str, Any]) -> None:
    made = metadata([], None, f"---\n{theirs}\n---\n# Hi", TEXT)
    assert {key: made[key] for key in made if key.startswith("license")} == ours


@pytest.mark.parametrize(
    ("front", "tag"),
    [("pipeline_tag: translation", "translation"), ("pipeline_tag: fortune-telling", None),
     ("pipeline_tag: [text-generation]", None)],
)  # fmt: skip
def test_a_pipeline_tag_is_theirs_if_the_hub_knows_it(front: str, tag: str | None) -> None:
    made = metadata([], None, f"---\r\n{front}\r\n---\r\n", TEXT)
    assert made["pipeline_tag"] == (tag or "text-generation")


def test_front_matter_is_read_as_the_hub_reads_it() -> None:
    assert front_matter('\ufeff---\nlicense: mit\ntitle: "a --- b"\n---\n') == {
        "license": "mit", "title": "a --- b"}  # fmt: skip
    for none in (None, "", "--- x", "---\n- a\n---\n", "---\n: [\n---\n", "---\na: 1\n"):
        assert front_matter(none) == {}


def test_how_to_load_it(tiny: Tiny, tmp_path: Path) -> None:
    own = {"auto_map": {"AutoModelForCausalLM": "m.M"}, "model_type": "own"}
    assert loading_of(own) == Loading("AutoModelForCausalLM", True)
    seen = loading_of({"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"]})
    assert (seen.model, seen.pipeline) == ("AutoModelForImageTextToText", "image-text-to-text")
    out = prune(tiny("llama"), tmp_path / "out")
    _, body = card_of(out)
    code = body.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(code.replace("ORGANISATION/NAME", str(out)), names)
    assert names["model"].config.model_type == "llama"
    assert names["tokenizer"]("a").input_ids


def test_a_folder_of_the_hubs_cache_has_its_hub_id(tiny: Tiny, tmp_path: Path) -> None:
    cached = tmp_path / "models--org--name" / "snapshots" / "0"
    shutil.copytree(tiny("llama"), cached)
    out = prune(cached, tmp_path / "out")
    mwanda.trim(out, tmp_path / "trimmed", "de,sw")
    mwanda.recover(out, tmp_path / "recovered", dense=cached, steps=2, windows=8,
                   window_length=32, calibration="bundled:udhr", languages="de,sw")  # fmt: skip
    for folder in (out, tmp_path / "trimmed", tmp_path / "recovered"):
        front, _ = card_of(folder)
        assert (front["base_model"], front["base_model_relation"]) == ("org/name", "finetune")
    # A folder that we did not write may be named after another model than it is.
    (out / "mwanda.json").unlink()
    assert "base_model" not in card_of(prune(out, tmp_path / "other"))[0]


def test_the_section_on_experts_stays(tiny: Tiny, tmp_path: Path) -> None:
    out = prune(tiny("qwen3_moe"), tmp_path / "out")
    mwanda.trim(out, tmp_path / "trimmed", "de,sw")
    before, after = (card_of(folder)[1] for folder in (out, tmp_path / "trimmed"))
    section = before.partition("## Experts")[2]
    assert section
    assert after.partition("## Experts")[2] == section
