"""The front matter of a model card, as the hub's own validation wants it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

CARRIED = ("license_name", "license_link", "extra_gated_prompt")
"""Fields of the base model's card that are taken over as they are."""

TAGS = ("pruned", "sparse", "multilingual", "mwanda")

_LICENCES = """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
    bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause
    bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0
    cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0
    cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1
    eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research
    intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl openmdw-1.0
    openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr
    deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2
    llama3.3 llama4 grok2-community gemma unknown other
"""
LICENCES = frozenset(_LICENCES.split())
"""What the hub takes for ``license``."""

_PIPELINES = """
    text-generation image-text-to-text any-to-any audio-text-to-text video-text-to-text translation
    summarization question-answering text-classification token-classification
    feature-extraction sentence-similarity text-ranking fill-mask visual-question-answering
    document-question-answering image-to-text automatic-speech-recognition
"""
PIPELINES = frozenset(_PIPELINES.split())
"""What the hub takes for ``pipeline_tag``, as far as a decoder can be that."""

_CODE = re.compile(r"[a-z]{2,3}")

_FRONT = re.compile(r"\A\ufeff?\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Loading:
    """How transformers loads a model: its class there, and whether it runs the model's own code."""

    model: str
    own_code: bool

    @property
    def pipeline(self) -> str:
        images = self.model == "AutoModelForImageTextToText"
        return "image-text-to-text" if images else "text-generation"


def metadata(
    languages: Sequence[str], base: str | None, readme: str | None, loading: Loading
) -> dict[str, Any]:
    """The fields, in the order in which they are written.

    Args:
        languages: BCP-47 tags that the masks were chosen on.
        base: hub id of the base model; None for one that was a folder or a file, which the hub
            would not find.
        readme: the base model's own card; its licence is carried over.
    """
    theirs = front_matter(readme)
    header: dict[str, Any] = {"library_name": "transformers"}
    if base is not None:
        # Of the four relations that the hub knows. Nothing was trained, but weights are others.
        header |= {"base_model": base, "base_model_relation": "finetune"}
    header |= _licence(theirs)
    carried = theirs.get("pipeline_tag")
    known = isinstance(carried, str) and carried in PIPELINES
    header["pipeline_tag"] = carried if known else loading.pipeline
    # The hub takes bare ISO 639 codes for languages; script and region go where anything may.
    tags = {tag: tag.partition("-")[0] for tag in languages}
    header["tags"] = [*TAGS, *(tag for tag, code in tags.items() if tag != code)]
    codes = [code for code in tags.values() if _CODE.fullmatch(code)]
    if codes:
        header["language"] = list(dict.fromkeys(codes))
    return header


def loading_of(config: Mapping[str, Any]) -> Loading:
    """From what config.json says."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )

    kind, names = config.get("model_type"), config.get("architectures") or [None]
    own = config.get("auto_map") or {}
    wrapper = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.get(kind)
    causal = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or "AutoModelForCausalLM" in own
    own_code = kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and "AutoModelForCausalLM" in own
    if wrapper is not None and (names[0] == wrapper or not causal):
        return Loading("AutoModelForImageTextToText", False)
    if causal or names[0] is None:
        return Loading("AutoModelForCausalLM", own_code)
    return Loading(str(names[0]), False)


def front_matter(readme: str | None) -> dict[str, Any]:
    """The fields of a card; empty where it has none that can be read."""
    found = _FRONT.match(readme or "")
    try:
        # Every value as it is written: YAML 1.1 takes `no` for false, the hub does not.
        data = None if found is None else yaml.load(found[1], Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _licence(theirs: Mapping[str, Any]) -> dict[str, Any]:
    """The base model's licence: as it is where the hub knows it, else ``other`` and its name."""
    found = {key: theirs[key] for key in CARRIED if isinstance(theirs.get(key), str)}
    given = theirs.get("license")
    written = [given] if isinstance(given, str) else given
    if not isinstance(written, list) or not all(isinstance(one, str) for one in written):
        return found
    names = [name for one in written if (name := one.strip().lower()) not in ("", "~", "null")]
    if not names:
        return found
    if set(names) <= LICENCES:
        return {"license": names if len(names) > 1 else names[0]} | found
    slug = re.sub(r"[^a-z0-9.]+", "-", "-".join(names)).strip("-.")
    return {"license": "other", "license_name": slug or "other"} | found
