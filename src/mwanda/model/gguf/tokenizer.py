"""The tokenizer in a GGUF file: transformers' own building of it, and what that leaves out.

Every field that the file has for it is used here, or changes nothing, or the file is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from mwanda.errors import InputError, MwandaError, shown
from mwanda.model.gguf.header import ORIGINAL, GgufHeader
from mwanda.model.gguf.splits import WHOLE_WORDS, split_words

FRONT = "tokenizer."
GGML = f"{FRONT}ggml."
TEMPLATE = f"{FRONT}chat_template"

STOPS = ("eos_token_id", "eot_token_id", "eom_token_id")
"""Tokens at which generation ends: of a text, of a turn, of a message."""

ROLES = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
    "sep_token": "seperator_token_id",
    "cls_token": "cls_token_id",
    "mask_token": "mask_token_id",
}
"""A tokenizer's name for a token, and the file's (spelt so)."""

USED = {
    "model", "pre", "tokens", "scores", "token_type", "merges", "add_bos_token", "add_eos_token",
    *STOPS, *ROLES.values(),
}  # fmt: skip

HARMLESS = {
    "token_type_count",
    "prefix_token_id", "suffix_token_id", "middle_token_id",
    *(f"fim_{part}_token_id" for part in ("pre", "suf", "mid", "pad", "rep", "sep")),
}  # fmt: skip
"""Names of tokens for filling in code, which stay in the vocabulary as they are."""

PREFIXED = {"llama": True, "t5": True, "gpt2": False, "gemma4": False}
"""Whether a space goes before a text, by the kind of tokenizer."""


def build_tokenizer(header: GgufHeader, model_type: str) -> Any:
    """The tokenizer that the file describes; what it saves beside a config of this type is read
    back the same."""
    from transformers import PreTrainedTokenizerFast

    try:
        made = _made(header)
        _refuse_rebuilt(header, made, model_type)
        return PreTrainedTokenizerFast(tokenizer_object=_Given(made), **_settings(header))
    except MwandaError:
        raise
    except Exception as error:  # a damaged vocabulary shows as an error of any kind
        raise InputError(
            f"{header.path}: tokenizer",
            expected="one in the file that transformers can build",
            found=shown(" ".join(str(error).split())) or type(error).__name__,
            fix=ORIGINAL,
        ) from error


def stop_tokens(header: GgufHeader) -> list[int]:
    """Numbers of the tokens at which generation ends."""
    named = (header.fields.get(GGML + name) for name in STOPS)
    return list(dict.fromkeys(number for number in named if number is not None))


class _Given:
    """Something that whoever copies it shall have: two copies of a vocabulary are dear."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self._value


def _made(header: GgufHeader) -> Any:
    from transformers import LlamaTokenizer
    from transformers.integrations.gguf import gguf_tokenizer_mapping as mapping

    fields = header.fields
    names = mapping.GGUF_TOKENIZER_MAPPING["tokenizer"]
    kept = {name: fields[FRONT + key] for key, name in names.items() if FRONT + key in fields}
    kind, pre = str(kept.get("tokenizer_type")), kept.pop("pre_tokenizer_type", "") or "default"
    prefixed = PREFIXED.get(kind, False) and not header.architecture.startswith("gemma")
    said = fields.get(f"{GGML}add_space_prefix", prefixed)
    unprefixed = kind == "llama" and prefixed and not said
    _refuse_lost(header, {
        f"{GGML}add_space_prefix": said if unprefixed else prefixed,
        f"{GGML}remove_extra_whitespaces": kind == "t5",
    })  # fmt: skip
    if unprefixed:
        built = mapping.sentencepiece_tokenizer(
            kept, partial(LlamaTokenizer, add_prefix_space=False)
        )
        made = mapping.add_gguf_special_tokens(built, kept).backend_tokenizer
    else:
        made, _ = mapping.convert_gguf_tokenizer(header.architecture, kept)
    if kind == "gpt2" and not split_words(made, str(pre)):
        raise _lost(header, f"{GGML}pre", pre, "text split before its merges as is known here")
    return _of_the_file(made, len(kept["tokens"]))


def _refuse_rebuilt(header: GgufHeader, made: Any, model_type: str) -> None:
    """Refuse text cut in a way that transformers puts its own in place of when it loads a folder.

    It does so for a few types of models, whatever the folder says.
    """
    from transformers.models.auto import tokenization_auto as auto

    name = auto.TOKENIZER_MAPPING_NAMES.get(model_type)
    forced = model_type in auto.MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS
    if not forced or name in (None, "TokenizersBackend"):
        return
    own = auto.tokenizer_class_from_name(name)(vocab={"a": 0}, merges=[]).backend_tokenizer
    for part in ("pre_tokenizer", "normalizer", "decoder"):
        if _state(own, part) != _state(made, part):
            raise _lost(
                header, f"{GGML}pre", header.fields.get(f"{GGML}pre", "none"),
                f"the {part} of {name}, with which transformers loads every {model_type}",
            )  # fmt: skip


def _state(made: Any, part: str) -> Any:
    held = getattr(made, part)
    return held and held.__getstate__()


def _of_the_file(made: Any, count: int) -> Any:
    """Without the tokens that a class of transformers adds, which the model has no row for."""
    from tokenizers import Tokenizer

    if all(number < count for number in made.get_added_tokens_decoder()):
        return made
    told = json.loads(made.to_str())
    told["added_tokens"] = [one for one in told["added_tokens"] if one["id"] < count]
    if told["model"].get("unk_token") not in told["model"]["vocab"]:
        told["model"]["unk_token"] = None
    return Tokenizer.from_str(json.dumps(told))


def _settings(header: GgufHeader) -> dict[str, Any]:
    fields = header.fields
    settings = {name: fields[GGML + name] for name in ("add_bos_token", "add_eos_token")
                if GGML + name in fields}  # fmt: skip
    # Both as in transformers' ``get_gguf_tokenizer``, which would read the file again.
    if fields.get(f"{GGML}model") == "llama":
        settings.setdefault("add_bos_token", True)
    elif fields.get(f"{GGML}model") == "gemma4":
        settings["add_bos_token"] = False
    elif fields.get(f"{GGML}pre") in WHOLE_WORDS:  # as llama.cpp does where no flag is
        settings.setdefault("add_bos_token", True)
    tokens = fields[f"{GGML}tokens"]
    for key in (*STOPS, *ROLES.values()):
        number = fields.get(GGML + key, 0)
        if not isinstance(number, int) or not 0 <= number < len(tokens):
            raise _lost(header, GGML + key, number, f"a number below {len(tokens):,}, the tokens")
    for name, key in ROLES.items():
        number = fields.get(GGML + key)
        settings[name] = None if number is None else tokens[number]
    named = {
        name.removeprefix(f"{TEMPLATE}."): held
        for name, held in fields.items() if name.startswith(f"{TEMPLATE}.")
    }  # fmt: skip
    default = {"default": fields[TEMPLATE]} if TEMPLATE in fields else {}
    if named:
        settings["chat_template"] = default | named
    elif default:
        settings["chat_template"] = default["default"]
    return settings


def _refuse_lost(header: GgufHeader, natural: Mapping[str, bool]) -> None:
    """Refuse a field that says something and has no place: another thing than ``natural``, which
    a tokenizer of this kind does whatever the file says. One that is off or empty says nothing."""
    for name, held in header.fields.items():
        if not name.startswith(FRONT) or name.removeprefix(GGML) in USED | HARMLESS:
            continue
        if name.startswith(TEMPLATE) or name == f"{FRONT}huggingface.json":
            continue
        if bool(held) != natural.get(name, False):
            raise _lost(header, name, held, "fields that transformers' tokenizers have each")


def _lost(header: GgufHeader, name: str, held: Any, expected: str) -> InputError:
    said = shown(str(held))[:40]
    return InputError(f"{header.path}: {shown(name)}", expected=expected, found=said, fix=ORIGINAL)
