"""Which family a language is of, and the name of its script.

Families, and branches of Indo-European, are those of Glottolog (Hammarström, Forkel, Haspelmath and
Bank, glottolog.org, CC BY 4.0), checked against the copy in URIEL (Littell et al., "URIEL and
lang2vec", EACL 2017); scripts are those of CLDR.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from langcodes import Language

from mwanda.text.languages import script_of

SOURCE = (
    "Families and the branches of Indo-European after Glottolog (Hammarström, Forkel, Haspelmath "
    "and Bank, CC BY 4.0), scripts after CLDR."
)
OTHER = "not listed"
HAN = MappingProxyType({"Hans": "Han (simplified)", "Hant": "Han (traditional)"})


def families() -> dict[str, str]:
    """Language subtag -> family; of Indo-European with the branch."""
    path = Path(__file__).with_name("language_families.csv")
    with path.open(encoding="utf-8", newline="") as file:
        return {
            row["tag"]: row["family"] + (f": {row['branch']}" if row["branch"] else "")
            for row in csv.DictReader(file)
        }


def family_of(tag: str, table: Mapping[str, str]) -> str:
    """The family of a language, whatever its script or country."""
    return table.get(tag.split("-")[0], OTHER)


def script_name(tag: str) -> str:
    """The script a language is usually written in, in English: ``Devanagari``."""
    code = script_of(tag)
    if code in HAN:
        return HAN[code]
    return str(Language.make(script=code).script_name()) or code
