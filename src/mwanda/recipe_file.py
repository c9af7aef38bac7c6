"""A recipe in YAML: read, not yet validated."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mwanda.errors import InputError

__all__ = ["load_recipe"]

LARGEST = 1 << 20
"""Bytes of a recipe."""


def load_recipe(path: Path) -> dict[str, Any]:
    """The fields written in a YAML recipe, not yet validated.

    Raises:
        InputError: no such file, too large, not UTF-8, not YAML, with an alias (a few bytes of
            which can stand for gigabytes), or not a mapping.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML 1.1 but for aliases, and for numbers in base 60, which would read the pattern 2:4
        as 124."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("an alias (*), which recipes do not have; write it out")
            return super().compose_node(parent, index)

    Loader.yaml_implicit_resolvers = {
        first: [(tag, form) for tag, form in rules if not tag.endswith((":int", ":float"))]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    digits = list("-+0123456789.")
    number = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:int", re.compile(r"[-+]?(0|[1-9]\d*)\Z"), digits
    )
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(rf"({number})\Z"), digits)
    try:
        # A SafeLoader all the same: it makes plain values only.
        data = yaml.load(_text(path), Loader)
    except OSError as error:
        raise InputError(str(path), expected="a recipe file", found=str(error.strerror)) from error
    except UnicodeDecodeError as error:
        raise InputError(str(path), expected="UTF-8", found=f"byte {error.start} is not") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(str(path), expected="YAML", found=str(error)[:200]) from error
    if data is None:
        return {}
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise InputError(str(path), expected="a mapping of recipe fields", found=repr(data)[:60])
    return data


def _text(path: Path) -> str:
    with path.open("rb") as file:
        raw = file.read(LARGEST + 1)
    if len(raw) > LARGEST:
        raise ValueError(f"more than {LARGEST} bytes")
    return raw.decode("utf-8")
