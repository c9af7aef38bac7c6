"""A recipe in YAML: read, not yet validated."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mwanda.errors import InputError, shown

LARGEST = 1 << 20
"""Bytes of a recipe."""


def load_recipe(path: Path) -> dict[str, Any]:
    """The fields written in a YAML recipe, not yet validated."""
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML 1.2's plain values: ``no`` is Norwegian, ``2:4`` a pattern, ``017`` seventeen.

        YAML 1.1 would read them as false, as 124 in base 60, and as fifteen in base 8. No aliases.
        """

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("an alias (*), which recipes do not have; write it out")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            written = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            for number, name in enumerate(written):
                if name in written[:number]:
                    line = node.value[number][0].start_mark.line + 1
                    raise yaml.YAMLError(f"{shown(name)} twice, again in line {line}; keep one")
            return super().construct_mapping(node, deep)

        def whole(self, node: Any) -> int:
            return int(self.construct_scalar(node))

    Loader.yaml_implicit_resolvers = {
        first: [(tag, form) for tag, form in rules if tag.endswith((":null", ":merge"))]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    digits, number = "-+0123456789.", r"(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
    for kind, form, first in (
        ("bool", "true|True|TRUE|false|False|FALSE", "tTfF"),
        ("int", r"[-+]?\d+", digits),
        ("float", rf"[-+]?{number}|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", digits),
    ):
        tag = f"tag:yaml.org,2002:{kind}"
        Loader.add_implicit_resolver(tag, re.compile(rf"({form})\Z", re.ASCII), [*first])
    Loader.add_constructor("tag:yaml.org,2002:int", Loader.whole)
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
