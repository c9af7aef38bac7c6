"""A vocabulary that is cut splits the text that it covers as before, whatever its kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from mwanda.errors import InputError
from mwanda.pruned.trim.characters import characters_in, characters_of, scripts_of
from mwanda.pruned.trim.token_ids import map_tokenizer
from mwanda.pruned.trim.vocabulary import Vocabulary, filled
from tests.pruned.trim.vocabularies import KINDS, LANGUAGES, RESERVED, SIZE, learn, split, texts

GERMAN = sorted(characters_in(scripts_of(["de"])))


@pytest.fixture(scope="module")
def learnt() -> dict[str, Vocabulary]:
    return {kind: Vocabulary(json.loads(learn(kind).to_str()), kind) for kind in KINDS}


German = dict[str, tuple[Tokenizer, Tokenizer, set[int], list[int]]]


@pytest.fixture(scope="module")
def german(learnt: dict[str, Vocabulary]) -> German:
    """Each tokenizer, and the same with what German needs, the ids of which are given by old and by
    new."""
    found = {}
    for kind, vocabulary in learnt.items():
        chosen = always(vocabulary) | vocabulary.within(frozenset(GERMAN))
        made, rows = cut(vocabulary, chosen)
        found[kind] = (Tokenizer.from_str(json.dumps(vocabulary.data)), made, chosen, rows)
    return found


def always(vocabulary: Vocabulary) -> set[int]:
    """What stays whatever is chosen."""
    unknown = set() if vocabulary.unknown is None else {vocabulary.unknown}
    return unknown | vocabulary.bytes | (set(vocabulary.added) - vocabulary.reserved)


def cut(vocabulary: Vocabulary, chosen: set[int]) -> tuple[Tokenizer, list[int]]:
    """The tokenizer with these ids alone, and old ids by new."""
    rows = sorted(chosen)
    told = map_tokenizer(vocabulary, {old: new for new, old in enumerate(rows)})
    return Tokenizer.from_str(json.dumps(told)), rows


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("languages", [("de",), ("ru", "de"), ("hi",), ("zh", "ja"), ("ar",)])
def test_text_in_the_scripts_is_split_as_before(
    learnt: dict[str, Vocabulary], kind: str, languages: tuple[str, ...]
) -> None:
    vocabulary = learnt[kind]
    chosen = always(vocabulary) | vocabulary.within(characters_in(scripts_of(languages)))
    assert len(chosen) < len(vocabulary.known) - 100
    assert vocabulary.kind == "Unigram" or vocabulary.closed(chosen) == chosen
    made, rows = cut(vocabulary, chosen)
    before = Tokenizer.from_str(json.dumps(vocabulary.data))
    for text in texts(*languages):
        assert ids(before, text) == [rows[one] for one in ids(made, text)]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(st.data())
def test_any_text_of_kept_tokens_is_split_as_before(
    learnt: dict[str, Vocabulary], kind: str, data: st.DataObject
) -> None:
    """Tokens drawn at random, closed; the texts are joined from what such tokens are made of."""
    vocabulary = learnt[kind]
    drawn = data.draw(st.sets(st.sampled_from(sorted(vocabulary.texts)), min_size=5, max_size=200))
    chosen = set(vocabulary.closed(always(vocabulary) | drawn))
    made, rows = cut(vocabulary, chosen)
    before = Tokenizer.from_str(json.dumps(vocabulary.data))
    words = [before.decode([one]) for one in sorted(drawn)]
    for parts in data.draw(st.lists(st.lists(st.sampled_from(words), max_size=9), max_size=6)):
        text = "".join(parts)
        old = ids(before, text)
        if chosen.issuperset(old):
            assert old == [rows[one] for one in ids(made, text)], text


@pytest.mark.parametrize("kind", ["byte-fallback", "byte-level"])
@settings(max_examples=100)
@given(text=st.text(max_size=40))
def test_any_text_comes_back_where_there_are_bytes(german: German, kind: str, text: str) -> None:
    before, made, *_ = german[kind]
    assert made.decode(ids(made, text)) == before.decode(ids(before, text))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(text=st.text(st.sampled_from("und ein Maß, µﬀ①") | st.sampled_from(GERMAN)))
@example("5 µm, 🈶")
def test_any_text_in_the_scripts_is_split_as_before(german: German, kind: str, text: str) -> None:
    """Also where the tokenizer writes characters otherwise, as NFKC makes 有 of 🈶."""
    before, made, chosen, rows = german[kind]
    old = ids(before, text)
    assert old == [rows[one] for one in ids(made, text)]
    assert chosen.issuperset(old)


def _by_first_rule(vocabulary: Vocabulary, chosen: set[int]) -> set[int]:
    """What other tools keep: the two sides of the first rule that makes a token."""
    found, open_ = set(chosen), [vocabulary.texts[number] for number in chosen]
    first: dict[str, tuple[str, str]] = {}
    for left, right in vocabulary.data["model"]["merges"]:
        first.setdefault(left + right, (left, right))
    while open_:
        for part in first.get(open_.pop(), ()):
            if vocabulary.ids[part] not in found:
                found.add(vocabulary.ids[part])
                open_.append(part)
    return found


def test_a_token_is_built_by_the_rules_that_apply_and_not_by_the_first() -> None:
    words = ["a", "b", "c", "d", "ab", "bc", "cd", "abc"]
    merges = [("ab", "c"), ("b", "c"), ("c", "d"), ("a", "b"), ("a", "bc")]
    model = Tokenizer(models.BPE(vocab={w: i for i, w in enumerate(words)}, merges=merges))
    vocabulary = Vocabulary(json.loads(model.to_str()), "made up")
    chosen = {vocabulary.ids[word] for word in ("abc", "d", "cd")}
    wanted = ids(model, "abcd")
    assert [words[one] for one in wanted] == ["abc", "d"]
    made, rows = cut(vocabulary, set(vocabulary.closed(chosen)))
    assert [rows[one] for one in ids(made, "abcd")] == wanted
    wrong, rows = cut(vocabulary, _by_first_rule(vocabulary, chosen))
    assert [rows[one] for one in ids(wrong, "abcd")] != wanted


def test_the_least_piece_stays_since_unknown_characters_cost_ten_more() -> None:
    pieces = [("<unk>", 0.0), ("zq", -50.0), ("rs", -50.0), ("qrs", -1.0), ("m", -100.0),
              ("q", -60.0), ("r", -60.0), ("s", -60.0)]  # fmt: skip
    model = Tokenizer(models.Unigram(pieces, unk_id=0))
    vocabulary = Vocabulary(json.loads(model.to_str()), "made up")
    chosen = {0, 1, 2, 3}
    wanted = ids(model, "zqrs")
    assert wanted == [1, 2]
    closed = set(vocabulary.closed(chosen))
    assert 4 in closed
    made, rows = cut(vocabulary, closed)
    assert [rows[one] for one in ids(made, "zqrs")] == wanted
    wrong, rows = cut(vocabulary, closed - {4})
    assert [rows[one] for one in ids(wrong, "zqrs")] != wanted


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_filled_with_tokens_of_the_source(
    learnt: dict[str, Vocabulary], kind: str
) -> None:
    vocabulary = learnt[kind]
    chosen = always(vocabulary) | vocabulary.within(characters_in(scripts_of(["hi"])))
    made = filled(vocabulary, chosen, 64, SIZE)
    assert len(made) % 64 == 0
    assert made > chosen
    assert made <= vocabulary.known
    assert len(made & vocabulary.reserved) == min(len(RESERVED), len(made - chosen))
    assert filled(vocabulary, vocabulary.known, 64, SIZE) == vocabulary.known


@pytest.mark.parametrize("kind", KINDS)
def test_new_ids_keep_the_order_of_the_old(learnt: dict[str, Vocabulary], kind: str) -> None:
    vocabulary = learnt[kind]
    chosen = always(vocabulary) | vocabulary.within(characters_in(scripts_of(["ru"])))
    made, rows = cut(vocabulary, chosen)
    assert {made.id_to_token(new) for new in range(len(rows))} == {
        vocabulary.texts.get(old) or vocabulary.added[old] for old in rows
    }
    assert made.token_to_id("<bos>") == rows.index(1)
    assert made.encode("а").ids[0] == rows.index(1)


def test_letters_are_those_of_a_text_in_any_case() -> None:
    within = characters_in(scripts_of(["de"]))
    found = characters_of(["Größe, naïve"], within)
    assert set("gGrRößÖ, naïvNAÏV!?09") <= found
    assert not set("ñçžđ") & found
    assert "🙂" in found


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        (["ja"], {"Latn", "Hira", "Kana", "Hani"}),
        (["ko"], {"Latn", "Hang", "Hani"}),
        (["zh-Hant"], {"Latn", "Hani", "Bopo"}),
        (["sr", "sr-Latn"], {"Latn", "Cyrl"}),
        (["hi", "el"], {"Latn", "Deva", "Grek"}),
    ],
)
def test_scripts_of_languages(tags: list[str], wanted: set[str]) -> None:
    assert set(scripts_of(tags)) == wanted


def test_a_script_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="ISO 15924"):
        scripts_of(["de"], ["Wxyz"])


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (None, "no such file"),
        ("{", "JSON"),
        ('{"model": {"type": "Magic"}}', "one of BPE, Unigram, WordPiece"),
        ("[]", "one of BPE, Unigram, WordPiece"),
    ],
)
def test_a_tokenizer_that_is_not_known_is_refused(tmp_path: Path, written: Any, words: str) -> None:
    if written is not None:
        (tmp_path / "tokenizer.json").write_text(written)
    with pytest.raises(InputError, match=words):
        Vocabulary.read(tmp_path)


def test_the_languages_of_these_tests_are_bundled() -> None:
    assert all([*texts(tag)] for tag in LANGUAGES)
    assert split(json.loads(learn("wordpiece").to_str()), "und")
