"""Which file of a folder is the text of which language, and why the others are not."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from pathlib import Path

from mwanda.errors import InputError, shown
from mwanda.system.files import is_there
from mwanda.text.languages import canonical, display_name, named_language, other_meaning
from mwanda.text.packed import PACKED

log = logging.getLogger("mwanda")

KINDS = (".txt", ".jsonl", ".parquet")
LAYOUT = "one <tag>.txt, <tag>.jsonl or <tag>.parquet per language, e.g. de.txt"
MOST_NAMED = 8
_BESIDE = ("readme", "license", "licence", "notice", "changelog", "citation")


@dataclass
class LanguageFiles:
    """The files of a folder."""

    # By canonical tag, in the order of their names.
    files: dict[str, Path] = field(default_factory=dict)
    # Tags of files whose name is an ordinary word or a pair of languages too: taken where they are
    # asked for by name.
    on_request: set[str] = field(default_factory=set)
    # Name and reason of the files that are not read, but for hidden ones and those that tell of the
    # folder, such as README.md.
    passed_over: list[str] = field(default_factory=list)
    # Tags whose file must not be read, and why: a link out of the folder, one of two.
    wrong: dict[str, str] = field(default_factory=dict)
    # Of the files passed over, those that seem meant for a language: name and what to do.
    meant: list[str] = field(default_factory=list)

    @property
    def words(self) -> str:
        """What was passed over, for a message."""
        more = len(self.passed_over) - MOST_NAMED
        return "; ".join(self.passed_over[:MOST_NAMED]) + (f"; {more} more" if more > 0 else "")

    def tell(self, name: str) -> None:
        """Say in the log what was passed over, if anything."""
        if self.passed_over:
            log.warning("text folder %s: passed over %s", name, self.words)


def kind_of(path: Path) -> str:
    """``.txt`` of ``de.txt`` and of ``de.txt.gz``."""
    inner = Path(path.stem) if path.suffix.lower() in PACKED else path
    return inner.suffix.lower()


def language_files(name: str, folder: Path) -> LanguageFiles:
    """Each language's file, directly in the folder."""
    if not is_there(Path.is_dir, folder):
        raise InputError(
            f"text folder {shown(name)}",
            expected="a folder",
            found="a file" if is_there(Path.exists, folder) else "nothing there",
            fix=f"give a folder with {LAYOUT}, or bundled:udhr, or hub:<data set>",
        )
    found = LanguageFiles()
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.lower().startswith(_BESIDE):
            continue
        stem = path.name.removesuffix(_ending(path))
        if path.is_dir() and _nameless(stem, path) == _NO_LANGUAGE:
            continue  # no text
        unreadable, nameless = _unreadable(path), _nameless(stem, path)
        if reason := unreadable or nameless:
            found.passed_over.append(f"{path.name} ({reason})")
            if nameless != _NO_LANGUAGE:
                found.meant.append(f"{path} is not read: {reason}")
            continue
        tag = canonical(stem)
        if linked := linked_out(folder, path):
            found.wrong[tag] = linked
        elif tag in found.files:
            found.wrong[tag] = (
                f"language {tag!r} of {name}: expected one file, found {found.files[tag].name} "
                f"and {path.name}; keep one"
            )
        if tag not in found.files:
            found.files[tag] = path
            if meaning := other_meaning(stem):
                found.on_request.add(tag)
                found.passed_over.append(
                    f"{path.name} ({meaning}, though also {display_name(tag)}'s code: taken only "
                    f"where --languages names {tag})"
                )
    if not found.files:
        raise InputError(
            f"text folder {name}",
            expected=LAYOUT,
            found=f"only {found.words}" if found.passed_over else "none",
            fix="name each file after its language",
        )
    return found


_NO_LANGUAGE = "named after no language"


def _ending(path: Path) -> str:
    """``.txt.gz`` of ``pt-BR.txt.gz``."""
    packing = path.suffix if path.suffix.lower() in PACKED else ""
    return Path(path.name.removesuffix(packing)).suffix + packing


def _unreadable(path: Path) -> str | None:
    """Why a file is none of text, whatever its name."""
    if path.is_dir():
        return "a folder; put the text of a language in one file beside it"
    if not path.exists():
        return "a link to nothing"
    if not path.is_file():
        return "not a file"
    kind = kind_of(path)
    if kind not in KINDS:
        return f"{kind or 'no ending'}: give {', '.join(KINDS[:-1])} or {KINDS[-1]}"
    if kind == ".parquet" and path.suffix.lower() in PACKED:
        return "parquet is packed inside; unpack the file"
    return None


def _nameless(stem: str, path: Path) -> str | None:
    """Why a file is no language's, by its name."""
    try:
        canonical(stem)
    except InputError:
        meant = named_language(stem) or _tag_within(stem)
        if meant is None:
            return _NO_LANGUAGE
        return f"{_NO_LANGUAGE}; {meant}{_ending(path)} if it is {display_name(meant)}"
    return None


def _tag_within(stem: str) -> str | None:
    """``de`` of ``de_web`` and ``corpus-de``: a two-letter tag that a name begins or ends with."""
    parts = re.split(r"[_.\-]", stem)
    for part in (parts[0], parts[-1]) if len(parts) > 1 else ():
        try:
            if len(part) == 2:
                return canonical(part)
        except InputError:
            continue
    return None


def linked_out(folder: Path, path: Path) -> str | None:
    """What is wrong with a file that is a link out of its folder; None for any other."""
    if path.resolve().is_relative_to(folder.resolve()):
        return None
    return (
        f"{path}: expected a file in the folder, found a link to {path.resolve()}; "
        "copy the file into the folder"
    )
