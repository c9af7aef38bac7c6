"""Data sets of the Hugging Face Hub, one configuration per language, streamed.

Also reads a local data-set folder, which ``datasets`` treats alike.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from mwanda.errors import InputError, nearest
from mwanda.system.extras import need
from mwanda.text.files import MOST_NAMED
from mwanda.text.languages import canonical, other_meaning
from mwanda.text.rows import Document, RowCount, documents_of
from mwanda.text.text_source import check_languages

log = logging.getLogger("mwanda")

_DEFAULTS = {"split": "train", "column": "text", "revision": ""}
# wikimedia/wikipedia calls its configurations 20231101.sw and the like.
_DATE = re.compile(r"^\d{8}\.")


@dataclass(frozen=True)
class HubSource:
    """A data set whose configurations are named after languages."""

    name: str  # as the user wrote it
    dataset: str  # owner/name, or the path of a local data-set folder
    split: str
    column: str
    revision: str | None
    configs: dict[str, list[str]]  # canonical tag -> the names of the configurations for it
    streamed: ClassVar[bool] = True

    def languages(self) -> list[str]:
        tags = [tag for tag, names in self.configs.items() if not all(map(_other_meaning, names))]
        if not tags:
            raise _no_language(
                self.name, [name for names in self.configs.values() for name in names]
            )
        return sorted(tags)

    def available(self) -> list[str]:
        """All tags, those included whose configuration is named by an ordinary word."""
        return sorted(self.configs)

    def fingerprint(self, language: str) -> str | None:
        """None: a stream is not read to its end."""
        check_languages(self, [language])
        return None

    def documents(self, language: str) -> Iterator[Document]:
        check_languages(self, [language])
        config, *others = self.configs[language]
        if others:
            raise InputError(
                f"language {language!r} of {self.name}",
                expected="one configuration",
                found=", ".join([config, *others]),
                fix="use a folder with the one you want",
            )
        thing, count = f"{self.name}, {config}", RowCount()
        rows = ((f"{thing}, row {n}", row) for n, row in enumerate(self._rows(config), 1))
        try:
            yield from documents_of(rows, self.column, count)
        finally:
            count.tell(thing)

    def _rows(self, config: str) -> Iterator[dict[str, Any]]:
        from datasets import load_dataset

        try:
            # Streaming keeps no data; without this, datasets leaves a lock in the user's cache.
            with tempfile.TemporaryDirectory(prefix="mwanda-") as cache:
                stream = load_dataset(
                    self.dataset,
                    config,
                    split=self.split,
                    revision=self.revision,
                    streaming=True,
                    cache_dir=cache,
                )
            yield from stream
        except _reading_errors() as error:
            raise _unreadable(f"{self.name}, {config}", error) from error


def open_hub(name: str, rest: str) -> HubSource:
    """The data set of ``hub:<data set>[?split=train&column=text&revision=...]``, of which ``rest``
    is what follows the colon."""
    need("datasets", f"text source {name}", "hub")
    dataset, _, query = rest.partition("?")
    if not dataset:
        raise InputError(f"text source {name}", expected="hub:<data set>", found="no data set")
    options = dict(_DEFAULTS)
    pairs = parse_qsl(query, keep_blank_values=True)
    for key, value in pairs:
        if key not in _DEFAULTS:
            expected = "the options split, column and revision"
            fix = nearest(key, _DEFAULTS)
            raise InputError(f"text source {name}", expected=expected, found=repr(key), fix=fix)
        if not value or [other for other, _ in pairs].count(key) > 1:
            raise InputError(f"text source {name}", expected=f"one value for {key}")
        options[key] = value
    revision = options["revision"] or None
    seen = _config_names(name, dataset, revision)
    configs: dict[str, list[str]] = {}
    others = []
    for config in seen:
        try:
            tag = canonical(_DATE.sub("", config))
        except InputError:
            others.append(config)
            continue
        if meaning := _other_meaning(config):
            others.append(f"{config} ({meaning}; {tag} only where it is asked for)")
        configs.setdefault(tag, []).append(config)
    if not configs:
        raise _no_language(name, seen)
    if others:
        more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
        told = ", ".join(others[:MOST_NAMED]) + more
        log.warning("text source %s: passed over configurations of no language: %s", name, told)
    for tag, names in configs.items():  # Wikipedia has sq, and als, which is Alemannic there
        own = [config for config in names if _DATE.sub("", config) == tag]
        if len(own) == 1 and len(names) > 1:
            left = ", ".join(config for config in names if config not in own)
            log.info("text source %s: %s is read from %s, not from %s", name, tag, own[0], left)
            configs[tag] = own
    return HubSource(name, dataset, options["split"], options["column"], revision, configs)


def _no_language(name: str, configs: Sequence[str]) -> InputError:
    return InputError(
        f"text source {name}",
        expected="configurations named after languages, e.g. de or swh_Latn",
        found=", ".join(configs) or "none",
        fix="write the text to a folder with one file per language",
    )


def _other_meaning(config: str) -> str | None:
    return other_meaning(_DATE.sub("", config))


def _config_names(name: str, dataset: str, revision: str | None) -> list[str]:
    from datasets import get_dataset_config_names

    try:
        return list(get_dataset_config_names(dataset, revision=revision))
    except _reading_errors() as error:
        raise _unreadable(f"text source {name}", error) from error


def _reading_errors() -> tuple[type[Exception], ...]:
    """What ``datasets`` lets through: files, the network, data sets it cannot read.

    A configuration without quotes that YAML takes for a truth value (``no``) is a TypeError to it,
    a data set with a script of its own a RuntimeError.
    """
    from datasets.exceptions import DatasetsError

    return (OSError, ValueError, TypeError, RuntimeError, *_network_errors(), DatasetsError)


def _network_errors() -> tuple[type[Exception], ...]:
    from huggingface_hub.errors import HfHubHTTPError

    # The HTTP client's own error: huggingface_hub 1 uses httpx, 2 uses httpx2.
    of_client = [base for base in HfHubHTTPError.__bases__ if base is not OSError]
    return (ConnectionError, TimeoutError, *of_client)


def _unreadable(thing: str, error: Exception) -> InputError:
    if isinstance(error, FileNotFoundError):
        fix = "check its name, and that it is public or you are logged in"
    elif isinstance(error, _network_errors()):
        fix = "the Hub could not be reached: check the network, or use a folder of text"
    else:
        fix = "check the split and the revision, or use a folder of text"
    return InputError(thing, expected="a data set that can be read", found=str(error), fix=fix)
