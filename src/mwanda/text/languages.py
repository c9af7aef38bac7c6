"""Language tags: any style in, one canonical BCP-47 tag out.

Canonical here means:

* the shortest code of the language (``deu`` is ``de``), and a macrolanguage's code for its
  predominant member (``swh`` is ``sw``, ``arb`` is ``ar``), except where the member has a
  two-letter code of its own (``twi`` stays ``tw`` beside ``ak``);
* no script where it is the language's usual one (``zh-Hans`` is ``zh``, ``zh-Hant`` stays);
* regions kept as written (``pt-BR``), save for Chinese, where the region says the script:
  ``zh-CN`` is ``zh`` and ``zh-TW`` is ``zh-Hant``; the codes of no region are left out
  (``en_XX`` is ``en``);
* Norwegian that is not marked Nynorsk is Bokmål: ``no`` and ``nor`` are ``nb``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from langcodes import Language, find, standardize_tag, tag_is_valid
from langcodes.data_dicts import LIKELY_SUBTAGS
from langcodes.tag_parser import LanguageTagError

from mwanda.errors import InputError
from mwanda.system.arguments import several_given

_EXPECTED = "a language tag such as de, sw or zh-Hant"
MULTIPLE = "mul"
"""ISO 639-2's code of multiple languages: no language's tag, and the name of a pool of several."""

_NO_ONE_LANGUAGE = frozenset({"und", MULTIPLE, "mis", "zxx", "art"})
_NO_REGION = frozenset({"XX", "ZZ"})
# Several official languages, or one that is another's neighbour, in a region whose code is a
# language's too: what is not among these and not the region's likeliest is a pair of languages.
_REGIONAL_LIST = """
ar-er ar-so ca-fr ca-it de-be de-it de-lu fr-be fr-ca fr-ch fr-ml hr-ba it-ch it-sm ms-sg pt-mo
sq-mk sr-ba sv-fi ta-my ta-sg tr-cy uz-af zh-my zh-sg
"""
_REGIONAL = frozenset(_REGIONAL_LIST.split())
_FEWEST_SPEAKERS, _HOME_SHARE = 500_000, 0.2
# Words that files and configurations are called by, and that happen to be three-letter codes: all
# is Allar, dev Domung. Those that data sets use for their languages (min, war) are left out.
_FILE_WORDS_LIST = """
age all and any api app are aux bad bbc bed big bio bit box bpe bus cfg col com csv cut day dec dev
dic doc dup enc end err etc far for fun has hot ids inp its job key lab law lbl leg len lex lib lie
loc log lot low map max med men mid mix mod msg nat neg ner net new nil nli not now num old one ood
opt org pad par pay pic pop pos pot ppl pre pub put rat raw res row run saw say sci sea see seg sen
set she sim six sky spm spo src srt sst std sts sub sum sys tab tag tar tax tbl tea ted ten tgt the
tie tip tmp too top toy tra trn try tst tsv two txt typ uni val var vec ver vid was way win www xml
yes yet
"""
_FILE_WORDS = frozenset(_FILE_WORDS_LIST.split())
_LOOSE_SCRIPTS = {"Hani": frozenset({"Hans", "Hant"}), "Hang": frozenset({"Kore"})}


def canonical(code: str) -> str:
    """The canonical BCP-47 tag of a language code in any common style.

    ``swh_Latn``, ``SWA`` and ``sw`` all give ``sw``; see the module for the rules.
    """
    written = code.strip().replace("_", "-")
    if not written or not written.isascii() or not tag_is_valid(written):
        raise _unknown(code)
    try:
        tag = Language.get(standardize_tag(written), normalize=False)
    except LanguageTagError as error:
        raise _unknown(code) from error
    if len(tag.language or "und") > 2:
        tag = Language.get(standardize_tag(tag.to_tag(), macro=True), normalize=False)
    if tag.language is None or _no_one_language(tag.language) or tag.extlangs:
        raise _unknown(code)
    if tag.language == "no":
        tag = tag.update_dict({"language": "nb"})
    return _with_script(tag).to_tag()


def _no_one_language(code: str) -> bool:
    """Whether the code stands for several, for none, or for private use."""
    return code in _NO_ONE_LANGUAGE or (len(code) == 3 and "qaa" <= code <= "qtz")


def _with_script(tag: Language) -> Language:
    """The tag with its script written only where it is not the language's usual one."""
    usual = Language.make(language=tag.language).maximize().script
    script = tag.script or tag.maximize().script
    if script == usual or usual in _LOOSE_SCRIPTS.get(script or "", ()):
        script = None
    territory = None if tag.territory in _NO_REGION else tag.territory
    if tag.language == "zh":
        of_script = Language.make(language="zh", script=script).maximize().territory
        territory = None if territory == of_script else territory
    return tag.update_dict({"script": script, "territory": territory})


def other_meaning(name: str) -> str | None:
    """What a name of a file or a configuration is more often than a language's code: ``a word``
    (``dev``, ``all``, ``raw``) or ``a pair of languages`` (``de-fr``, ``en_sv``).

    Then the language is taken only if it is asked for.
    """
    if name.lower() in _FILE_WORDS:
        return "a word"
    return "a pair of languages" if _is_pair(name) else None


def _is_pair(name: str) -> bool:
    """Whether a name is two languages' codes, and no region where the first is usually spoken."""
    first, _, second = name.replace("_", "-").partition("-")
    one_case = name.islower() or name.isupper()
    if not one_case or len(first) != 2 or len(second) != 2:
        return False
    first, second = first.lower(), second.lower()
    if f"{first}-{second}" in _REGIONAL or not tag_is_valid(second):
        return False
    if second not in {"no", canonical(second)}:
        return False
    speakers = _speakers()
    there = speakers.get(f"{first}-{second.upper()}", 0)
    if there >= _HOME_SHARE * speakers.get(first, 0) > 0:
        return False
    likeliest = Language.get(f"und-{second}").maximize().language
    return likeliest != first or there < _FEWEST_SPEAKERS


def _speakers() -> Mapping[str, int]:
    """By language, and by language and region. Late: a table that few runs need."""
    from language_data.population_data import LANGUAGE_SPEAKING_POPULATION

    table: Mapping[str, int] = LANGUAGE_SPEAKING_POPULATION
    return table


def named_language(name: str) -> str | None:
    """The tag of a language called by its name: ``en`` of ``english`` and of ``English``."""
    try:
        found = canonical(find(name.replace("_", " ").replace("-", " ")).to_tag())
    except (LookupError, UnicodeDecodeError, InputError):
        return None
    code = found.split("-")[0]  # hardly anybody's name may be an everyday word
    return found if len(code) == 2 or code in _speakers() else None


def seen_among(tags: Iterable[str], calibrated: Iterable[str]) -> tuple[str, ...]:
    """Those of ``tags`` whose language is among the calibrated ones; all are canonical.

    A region that only one side writes makes no difference: Swedish of Sweden has seen Swedish.
    Where the likeliest region is among the tags, or one that calibrated by its name, a tag without
    one stands for the likeliest if it calibrated: ``pt`` has seen ``pt-BR`` and not ``pt-PT``
    beside it. A script makes a difference wherever both are known.
    """
    wanted, known = list(tags), list(calibrated)
    every = [Language.get(tag) for tag in {*wanted, *known}]
    by_name = [Language.get(tag) for tag in known]

    def alike(tag: Language, other: Language) -> bool:
        if not _one_script(tag, other):
            return False
        if tag.territory in (None, other.territory):
            return True
        if other.territory is not None:
            return False
        likeliest = other.maximize().territory
        there = {one.territory for one in every if _one_script(tag, one)}
        told_apart = {likeliest, *(one.territory for one in by_name if _one_script(tag, one))}
        return tag.territory == likeliest or not (there & told_apart) - {None}

    return tuple(
        tag
        for tag in wanted
        if tag in known or any(alike(Language.get(tag), Language.get(other)) for other in known)
    )


def same_language(tag: str, other: str) -> bool:
    """Whether two canonical tags are of one language in one script, whatever their regions."""
    return _one_script(Language.get(tag), Language.get(other))


def _one_script(tag: Language, other: Language) -> bool:
    """Whether two tags are of one language, and not known to be of different scripts."""
    if tag.language != other.language:
        return False
    if tag.language not in LIKELY_SUBTAGS:  # where it would fall back on English's script
        return tag.script == other.script or None in (tag.script, other.script)
    return tag.maximize().script == other.maximize().script


def parse_languages(text: str) -> list[str]:
    """``"de, fr,swh_Latn"`` to ``["de", "fr", "sw"]``, in the order written."""
    return _tags(text.split(",") if text.strip() else [])


def _tags(given: Sequence[str]) -> list[str]:
    if not given:
        raise InputError("languages", expected="tags with commas between", found="nothing")
    tags: dict[str, str] = {}
    problems: list[str] = []
    for item in given:
        written = item.strip()
        try:
            tag = canonical(written)
        except InputError as error:
            problems.append(str(error))
            continue
        if tag in tags:
            problems.append(
                f"languages: expected each language once, found {tags[tag]!r} and {written!r}, "
                f"both {tag}; keep one"
            )
        else:
            tags[tag] = written
    if problems:
        raise InputError.several(problems)
    return list(tags)


def tags_of(languages: Any) -> list[str]:
    """The canonical tags that an argument of a public function names, in order."""
    several = several_given("languages", languages, '["de", "sw"]')
    strange = [tag for tag in several if not isinstance(tag, str)]
    if strange:
        raise InputError("languages", expected=_EXPECTED, found=repr(strange[0]))
    return parse_languages(languages) if isinstance(languages, str) else _tags(several)


def script_of(tag: str) -> str:
    """The ISO 15924 code of the script a language is usually written in, e.g. ``Deva``."""
    return Language.get(canonical(tag)).maximize().script or "Zyyy"


def display_name(tag: str) -> str:
    """The English name, e.g. ``Swahili`` or ``Chinese (Traditional)``."""
    return Language.get(tag if tag == MULTIPLE else canonical(tag)).display_name("en")


def _unknown(code: str) -> InputError:
    """The error for a code that is no language, with the nearest that is."""
    tag = _suggestion(code.strip())
    fix = "write the BCP-47 tag"
    if tag is not None:
        fix = f"did you mean {tag!r} ({Language.get(tag).display_name('en')})?"
    return InputError(f"language {code!r}", expected=_EXPECTED, found=repr(code), fix=fix)


def _suggestion(written: str) -> str | None:
    """From a language's name, a misspelt name, a country's code or a broken tag."""
    first = written.replace("_", "-").split("-")[0].lower()
    if first.isascii() and first.isalpha() and len(first) in (2, 3):
        if not _no_one_language(first) and tag_is_valid(first):
            return canonical(first)
        # A country's code: where it is not known either, the guess falls back on English.
        guess = (
            Language.get(f"und-{first.upper()}").maximize().language if len(first) == 2 else None
        )
        return None if guess in {None, "en"} else str(guess)
    if not written.replace(" ", "").isalpha():
        return None
    try:
        found = find(written).to_tag()
    except (LookupError, UnicodeDecodeError):
        found = None
    if found is not None:
        return None if _no_one_language(found) else canonical(found)
    tags = sorted(tag for tag in _speakers() if tag.isalpha() and tag != "und")
    names = {Language.get(tag).display_name("en").casefold(): tag for tag in tags}
    near = get_close_matches(written.casefold(), list(names), n=1, cutoff=0.8)
    return str(names[near[0]]) if near and len(written) > 4 else None
