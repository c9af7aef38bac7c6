"""Modules that are loaded when something of them is first used, and not before."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any


def load_late(*names: str) -> None:
    """Let ``import NAME`` of these give a module that loads itself at its first use.

    For a program that often ends before it needs them, as a command line does whose arguments are
    wrong. What is imported already stays as it is, and what is not installed fails as ever.
    """
    for name in names:
        spec = None if name in sys.modules else importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            continue
        module = importlib.util.module_from_spec(spec)
        # Without its path no part of it can be imported before it: asking for the path loads it.
        vars(module).pop("__path__", None)
        module.__class__ = _Late
        sys.modules[name] = module


class _Late(ModuleType):
    """A module of which only name and place are known.

    The standard library's LazyLoader is no help: there a second ``import`` is a use already.
    """

    def __getattr__(self, name: str) -> Any:
        self.__class__ = ModuleType  # type: ignore[assignment]
        spec = self.__spec__
        if spec is None or spec.loader is None:
            raise ImportError(f"{self.__name__} cannot be loaded")
        if spec.submodule_search_locations is not None:
            self.__path__ = spec.submodule_search_locations
        try:
            spec.loader.exec_module(self)
        except BaseException:
            sys.modules.pop(self.__name__, None)
            raise
        return getattr(self, name)
