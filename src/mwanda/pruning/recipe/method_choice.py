"""A method as a recipe names it, checked against the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mwanda.errors import InputError
from mwanda.methods.kinds import Allocation, Criterion, Reconstruction, option_problems
from mwanda.methods.registry import find_allocation, find_criterion, find_reconstruction

FINDERS: Mapping[str, Callable[[str], Criterion | Allocation | Reconstruction]] = MappingProxyType(
    {
        "criterion": find_criterion,
        "allocation": find_allocation,
        "reconstruction": find_reconstruction,
    }
)


class Method(BaseModel):
    """A method of the registry and its options; written as a name or ``{name: …, option: …}``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_short_form(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, Mapping) and "options" not in value:
            rest = {str(key): item for key, item in value.items() if key != "name"}
            return {"name": value.get("name"), "options": rest}
        return value


def checked(kind: str, method: Method) -> Method:
    """The method itself, known and with options that it has."""
    row = as_value_error(lambda: FINDERS[kind](method.name))
    problems = option_problems(kind, row, method.options)
    if problems:
        raise ValueError("; ".join(problems))
    return method


def as_value_error(call: Any) -> Any:
    """pydantic gathers ValueErrors of all fields; ours are no ValueErrors."""
    try:
        return call()
    except InputError as error:
        raise ValueError(str(error)) from error
