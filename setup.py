"""The README as a package index shows it, with links that lead to the repository.

Its addresses stand in ``[tool.mwanda.readme]`` of ``pyproject.toml`` and nowhere else. Where they
are empty a link is left as its words and a picture is left out, so that none is broken.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z]+:|#)([^()\s]+)\)")


def absolute(text: str, pages: str, pictures: str) -> str:
    """Markdown whose relative links begin with these addresses.

    Args:
        pages: of the repository's files, such as ``https://HOST/OWNER/mwanda/blob/main/``.
        pictures: of the same files as they are, for what is shown in the page.
    """

    def link(found: re.Match[str]) -> str:
        mark, words, path = found.groups()
        base = pictures if mark else pages
        if base:
            return f"{mark}[{words}]({base}{path})"
        return "" if mark else words

    return LINK.sub(link, text)


if __name__ == "__main__":
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    setup(
        long_description=absolute(
            (ROOT / "README.md").read_text(encoding="utf-8"), **settings["tool"]["mwanda"]["readme"]
        ),
        long_description_content_type="text/markdown",
    )
