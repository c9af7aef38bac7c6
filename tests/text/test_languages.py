from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mwanda.errors import InputError
from mwanda.text.languages import (
    canonical,
    display_name,
    named_language,
    other_meaning,
    parse_languages,
    script_of,
    seen_among,
)

STYLES = """
de=de deu=de DE=de deu_Latn=de swh_Latn=sw swa=sw SWH-latn=sw arb_Arab=ar zho_Hans=zh cmn_Hans=zh
cmn_Hani=zh zho=zh zh-CN=zh zh-Hans-CN=zh zho_Hant=zh-Hant zh-TW=zh-Hant zh_Hant_TW=zh-Hant
zh-HK=zh-Hant-HK pes_Arab=fa prs_Arab=fa-AF iw=he in=id jw=jv ji=yi ben_Beng=bn npi_Deva=ne
ory_Orya=or azj_Latn=az azb_Arab=azb-Arab uzn_Latn=uz khk_Cyrl=mn nob_Latn=nb no=nb nor=nb nb=nb
nno_Latn=nn no-NO=nb-NO pt-BR=pt-BR pt_BR=pt-BR de-DE=de-DE bg-Latn=bg-Latn ru-Latn=ru-Latn
zh-Latn=zh-Latn ja-Latn=ja-Latn kor_Hang=ko jpn_Jpan=ja yue_Hant=yue tgl_Latn=fil twi_Latn=tw
aka_Latn=ak plt_Latn=mg kmr_Latn=ku zsm_Latn=ms ekk_Latn=et srp_Cyrl=sr sr-Latn=sr-Latn
pa-PK=pa-Arab-PK knc_Arab=kr-Arab quy_Latn=quy sh=sr-Latn
"""


@pytest.mark.parametrize("pair", STYLES.split())
def test_any_style_gives_the_canonical_tag(pair: str) -> None:
    written, tag = pair.split("=")
    assert canonical(written) == tag
    assert canonical(tag) == tag
    assert canonical(f" {written.swapcase()} ") == tag


NEAREST = """
german=de Deutsch=de englsh=en Swahilli=sw jp=ja cn=zh gr=el cz=cs klingonese=tlh de_Latn_x=de
"""
UNKNOWN = ["", " ", "xx", "und", "und-Latn", "mul", "mis", "zxx", "art", "qaa", "klingonese", "é"]
MALFORMED = [
    "de-",
    "-de",
    "de--DE",
    "de_Latn_removed",
    "en_Lat",
    "test",
    "train",
    "de\x00",
    "de,fr",
]


@pytest.mark.parametrize("code", UNKNOWN + MALFORMED)
def test_what_is_no_language_is_refused_by_name(code: str) -> None:
    with pytest.raises(InputError) as caught:
        canonical(code)
    assert str(caught.value).startswith("language ")
    assert "expected a language tag such as de, sw or zh-Hant" in str(caught.value)


@pytest.mark.parametrize(
    ("code", "nearest"),
    [pair.split("=") for pair in NEAREST.split()],
)
def test_a_name_or_a_country_suggests_its_language(code: str, nearest: str) -> None:
    with pytest.raises(InputError, match=rf"did you mean '{nearest}' \("):
        canonical(code)


@pytest.mark.parametrize("code", ["xx", "unknown language", "multiple languages", "qqqqqq"])
def test_no_suggestion_where_there_is_none(code: str) -> None:
    with pytest.raises(InputError, match="write the BCP-47 tag"):
        canonical(code)


@given(
    st.text(max_size=14) | st.from_regex(r"[a-zA-Z]{2,3}([-_][a-zA-Z]{2,4}){0,2}", fullmatch=True)
)
def test_a_code_is_canonical_for_good_or_an_input_error(code: str) -> None:
    try:
        tag = canonical(code)
    except InputError:
        return
    assert canonical(tag) == tag
    assert canonical(tag.upper().replace("-", "_")) == tag
    assert len(script_of(tag)) == 4
    assert display_name(tag)


def test_scripts_and_names() -> None:
    assert [script_of(tag) for tag in ("sw", "hi", "zh", "zh-Hant", "bg-Latn", "ar")] == [
        "Latn",
        "Deva",
        "Hans",
        "Hant",
        "Latn",
        "Arab",
    ]
    assert display_name("swh_Latn") == "Swahili"
    assert display_name("zh-Hant") == "Chinese (Traditional)"


def test_languages_keep_their_order() -> None:
    assert parse_languages("sw, de,zho_Hant , fr") == ["sw", "de", "zh-Hant", "fr"]


def test_every_bad_tag_is_reported_at_once() -> None:
    with pytest.raises(InputError) as caught:
        parse_languages("german,de,xx,deu,")
    assert len(caught.value.problems) == 4
    assert "found 'de' and 'deu', both de; keep one" in str(caught.value)
    with pytest.raises(InputError, match="found nothing"):
        parse_languages(" ")


@given(
    st.lists(
        st.sampled_from(["de", "fr", "sw", "zh", "hi", "yo", "pt-BR"]), unique=True, min_size=1
    )
)
def test_joined_tags_parse_back(tags: list[str]) -> None:
    assert parse_languages(",".join(tags)) == tags


@pytest.mark.parametrize(
    ("code", "tag"), [("en_XX", "en"), ("es-ZZ", "es"), ("sv_SE", "sv-SE"), ("zh_XX", "zh")]
)
def test_a_code_of_no_region_is_no_region(code: str, tag: str) -> None:
    assert canonical(code) == tag


@pytest.mark.parametrize(
    ("scored", "calibrated", "seen"),
    [
        ("sv de", "sv-SE", "sv"),
        ("sv-SE de", "sv", "sv-SE"),
        ("sv-SE", "sv-SE", "sv-SE"),
        ("pt-BR pt-PT", "pt-BR", "pt-BR"),
        ("pt-BR pt-PT", "pt", "pt-BR"),
        ("pt pt-PT", "pt-BR", "pt"),
        ("pt", "pt-BR pt-PT", "pt"),
        ("en", "en-GB en-AU", "en"),
        ("pt-PT", "pt-BR", ""),
        ("es-419 es-MX", "es", "es-419 es-MX"),
        ("es-419 es-MX es-ES", "es", "es-ES"),
        ("es-419 es-MX", "es es-MX", "es-MX"),
        ("azb", "azb-Arab", "azb"),
        ("azb-Arab", "azb", "azb-Arab"),
        ("zh-Hant-HK zh", "zh-Hant", "zh-Hant-HK"),
        ("sr hi", "sr-Latn hi-Latn", ""),
        ("de fr", "it", ""),
    ],
)
def test_a_region_matters_only_beside_another(scored: str, calibrated: str, seen: str) -> None:
    assert seen_among(scored.split(), calibrated.split()) == tuple(seen.split())


def test_languages_are_known_by_name() -> None:
    assert [named_language(name) for name in ("english", "German", "français")] == [
        "en",
        "de",
        "fr",
    ]
    for name in ("index", "a", "train", "data", "corpus", "x" * 300, "", "test_set"):
        assert named_language(name) is None


def test_two_codes_are_a_pair_but_for_usual_regions() -> None:
    pairs = "de-fr en-sv en_de EN-DE en-zh fr-en sv-no en-uk en-gu en-kn en-vi en-ms hu-ro"
    assert {other_meaning(name) for name in pairs.split()} == {"a pair of languages"}
    regions = """
    pt-br pt_br PT-BR de-at de-ch de-be fr-ca fr-ch en-gb en-us en-ca en-za en-in zh-sg es-sv es-ar
    ar-sa eu-es sv-fi ms-my nb-no nn-no de-de fa-af ha-ng am-et fo-fo de-FR en_DE zh-tw sr-ba
    """
    assert [name for name in regions.split() if other_meaning(name)] == []
