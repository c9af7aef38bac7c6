"""Where a model folder's files name tokens by their ids: which ids these are, and the files with
new ones."""

from __future__ import annotations

import copy
import json
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mwanda.errors import InputError
from mwanda.pruned.trim.merge_trees import pair_of
from mwanda.pruned.trim.vocabulary import Vocabulary

_ID_ENDS = ("token_id", "token_ids", "token_index", "tokens_ids", "start_id", "end_id",
            "newline_id", "patch_id")  # fmt: skip
_ID_NAMES = frozenset({
    "bad_words_ids", "forced_decoder_ids", "force_words_ids", "suppress_tokens",
    "begin_suppress_tokens", "eos_token", "stop_token_ids", "pad_id", "pad_index", "bos_index",
    "eos_index", "unk_index", "mask_index",
})  # fmt: skip
"""Some hold ids in one file and texts in another: only whole numbers in them are ids."""

SIZES = ("vocab_size", "n_vocab", "vocabulary_size", "padded_vocab_size", "embedding_size",
         "decoder_vocab_size")  # fmt: skip
"""How configs call the number of rows."""

PARTS = ("vocab_size_per_layer_input", "unpadded_vocab_size")
"""The same of the first rows alone: a second table may be shorter, or the last rows be padding."""

CONFIGS = ("config.json", "generation_config.json", "preprocessor_config.json",
           "processor_config.json")  # fmt: skip
"""Files that may name ids, beside the tokenizer's."""

BY_TEXT = ("tokenizer_config.json", "special_tokens_map.json")
"""The tokenizer's, which name tokens by their text, and some by their id."""


def is_id_field(name: str) -> bool:
    """Whether a field of a config holds ids of tokens."""
    return name.endswith(_ID_ENDS) or name in _ID_NAMES


def ids_in(value: Any, *, below: bool = False) -> Iterator[int]:
    """Every id that a config names, at any depth.

    Args:
        below: whether this value belongs to a field of ids itself.
    """
    if isinstance(value, dict):
        for name, item in value.items():
            yield from ids_in(item, below=below or is_id_field(str(name)))
    elif isinstance(value, list):
        for item in value:
            yield from ids_in(item, below=below)
    elif below and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        yield value


def with_ids(value: Any, new: Mapping[int, int], *, below: bool = False) -> Any:
    """The same config with the new ids; a negative number, which is nobody's id, stays."""
    if isinstance(value, dict):
        return {
            name: with_ids(item, new, below=below or is_id_field(str(name)))
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [with_ids(item, new, below=below) for item in value]
    if below and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return new[value]
    return value


def new_size(name: str, value: Any, before: int, rows: Sequence[int]) -> int | None:
    """What a config's number of rows becomes; None for any other field.

    Args:
        before: rows of the whole vocabulary.
        rows: those that stay, ascending.
    """
    if name in SIZES and value == before:
        return len(rows)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return bisect_left(rows, value) if name in PARTS and whole else None


def with_sizes(value: Any, before: int, rows: Sequence[int]) -> Any:
    """The same config with new numbers of rows; arguments as in :func:`new_size`."""
    if isinstance(value, dict):
        sizes = {name: new_size(name, item, before, rows) for name, item in value.items()}
        return {
            name: with_sizes(item, before, rows) if sizes[name] is None else sizes[name]
            for name, item in value.items()
        }
    return [with_sizes(item, before, rows) for item in value] if isinstance(value, list) else value


def structural(
    folder: Path,
    vocabulary: Vocabulary,
    config: Mapping[str, Any],
    encode: Callable[[str], list[int]],
    rows: int,
) -> dict[int, str]:
    """Ids that stay whatever the languages are -> who needs them.

    Args:
        config: all that the model's config says, its defaults too.
        encode: the ids of a text, for what a chat template always writes.
        rows: of the tables; an added token beyond them has none and goes.
    """
    found = dict.fromkeys(vocabulary.added.keys() - vocabulary.reserved, "an added token")
    found |= dict.fromkeys(vocabulary.bytes, "a single byte")
    if vocabulary.unknown is not None:
        found[vocabulary.unknown] = "the unknown token"
    found |= dict.fromkeys(_processor_ids(vocabulary.data.get("post_processor")), "post-processor")
    data = {
        name: read_json(folder / name) for name in (*CONFIGS, *BY_TEXT) if (folder / name).is_file()
    }
    by_text = vocabulary.ids | {text: i for i, text in vocabulary.added.items()}
    for name in BY_TEXT:
        named = {by_text[text] for text in _named(data.get(name)) if text in by_text}
        found |= dict.fromkeys(named, name)
    for text in _template_texts(folder):
        found |= dict.fromkeys(encode(text), "the chat template")
    found |= dict.fromkeys(set(ids_in(config)) & vocabulary.known, "config.json")
    found = {number: who for number, who in found.items() if number < rows}
    data["tokenizer.json"] = {"padding": vocabulary.data.get("padding")}
    problems = []
    for name, told in data.items():
        named = {*ids_in(told)}
        found |= dict.fromkeys(named, name)
        problems += [
            f"{folder / name}: id {number}: expected an id below the {rows} rows of the embedding, "
            "found none; tokenizer and weights belong to different models"
            for number in sorted(named) if number >= rows
        ]  # fmt: skip
    if problems:
        raise InputError.several(problems)
    return found


def map_tokenizer(vocabulary: Vocabulary, new: Mapping[int, int]) -> dict[str, Any]:
    """``tokenizer.json`` with the kept tokens alone: a merge stays where its two sides and what
    they make stay, in the old order."""
    data = copy.copy(vocabulary.data)
    model = dict(data["model"])
    kept = {text: new[number] for number, text in sorted(vocabulary.texts.items()) if number in new}
    if vocabulary.kind == "Unigram":
        model["vocab"] = [entry for number, entry in enumerate(model["vocab"]) if number in new]
        if model.get("unk_id") is not None:
            model["unk_id"] = new[model["unk_id"]]
    else:
        model["vocab"] = kept
    if vocabulary.kind == "BPE":
        prefix = model.get("continuing_subword_prefix") or ""
        model["merges"] = [
            merge
            for merge in model["merges"]
            for left, right in [pair_of(merge)]
            if left in kept and right in kept and left + right[len(prefix) :] in kept
        ]
    data["model"] = model
    data["added_tokens"] = [
        {**entry, "id": new[entry["id"]]}
        for entry in data.get("added_tokens") or ()
        if entry["id"] in new
    ]
    data["post_processor"] = _with_processor_ids(data.get("post_processor"), new)
    if isinstance(data.get("padding"), dict):
        data["padding"] = with_ids(data["padding"], new)
    return data


def map_tokenizer_config(data: Any, gone: frozenset[str], new: Mapping[int, int]) -> Any:
    """``tokenizer_config.json`` or ``special_tokens_map.json`` without the tokens that are gone:
    named there, they would be added again."""
    if not isinstance(data, dict):
        return data
    made: dict[str, Any] = {}
    for name, value in with_ids(data, new).items():
        if name == "added_tokens_decoder" and isinstance(value, dict):
            made[name] = {str(new[int(i)]): one for i, one in value.items() if int(i) in new}
        elif isinstance(value, list):
            made[name] = [one for one in value if _content(one) not in gone]
        else:
            made[name] = value
    return made


def _processor_ids(value: Any) -> Iterator[int]:
    """Ids in a post-processor: ``ids`` of special tokens, and pairs of a token and its id."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name == "ids":
                yield from item
            elif name in ("sep", "cls") and isinstance(item, list):
                yield item[1]
            else:
                yield from _processor_ids(item)
    elif isinstance(value, list):
        for item in value:
            yield from _processor_ids(item)


def _with_processor_ids(value: Any, new: Mapping[int, int]) -> Any:
    if isinstance(value, dict):
        made: dict[str, Any] = {}
        for name, item in value.items():
            if name == "ids":
                made[name] = [new[number] for number in item]
            elif name in ("sep", "cls") and isinstance(item, list):
                made[name] = [item[0], new[item[1]]]
            else:
                made[name] = _with_processor_ids(item, new)
        return made
    return [_with_processor_ids(item, new) for item in value] if isinstance(value, list) else value


def _named(data: Any) -> Iterator[str]:
    """Tokens that a tokenizer's config names for a purpose; a mere list of them is none."""
    if isinstance(data, dict):
        for name, value in data.items():
            text = _content(value)
            if name.endswith("_token") and text is not None:
                yield text
            elif isinstance(value, dict) and name != "added_tokens_decoder":
                yield from _named(value)


def _content(value: Any) -> str | None:
    found = value.get("content") if isinstance(value, dict) else value
    return found if isinstance(found, str) else None


def _template_texts(folder: Path) -> Iterator[str]:
    """What chat templates write themselves: their text outside of ``{% %}``, and texts in it."""
    from jinja2 import Environment, TemplateSyntaxError

    for template in _templates(folder):
        try:
            for _, kind, value in Environment().lex(template):
                if kind == "data":
                    yield value
                elif kind == "string":
                    yield value[1:-1].replace("\\n", "\n")
        except TemplateSyntaxError:
            yield template


def _templates(folder: Path) -> Iterator[str]:
    for path in [folder / "chat_template.jinja", *folder.glob("additional_chat_templates/*.jinja")]:
        if path.is_file():
            yield path.read_text(encoding="utf-8")
    for name in ("tokenizer_config.json", "chat_template.json"):
        if (folder / name).is_file():
            found = read_json(folder / name).get("chat_template")
            listed = found if isinstance(found, list) else [found]
            yield from (one["template"] if isinstance(one, dict) else one
                        for one in listed if one is not None)  # fmt: skip


def read_json(path: Path) -> Any:
    """A file that is JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(str(path), expected="JSON in UTF-8", found=str(error)[:200]) from error
