"""Modules that are imported where they are used, and not where a library says so."""

import importlib.util
import sys
import types


class _Later(types.ModuleType):
    """Stands for a module until one of its names is wanted.

    Not importlib's LazyLoader: that imports for any attribute, and `inspect` asks all modules for their `__file__`.
    """

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def import_when_used(name: str) -> None:
    """Let `import name` do nothing yet. Without effect where it has been imported, or is not installed.

    Args:
        name: of a package, without dots.
    """
    spec = None if name in sys.modules else importlib.util.find_spec(name)
    if spec is not None:
        module = _Later(name)
        module.__spec__, module.__path__ = spec, spec.submodule_search_locations
        sys.modules[name] = module
