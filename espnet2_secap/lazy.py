"""Faster imports of libraries that import much more than this package uses; none of their files is changed.

A finder in `sys.meta_path` gives chosen modules another loader. What is asked of it lasts for the whole process and
reaches only modules that have not been imported yet; a name that is not installed is ignored.
"""

import abc
import ast
import importlib
import inspect
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path

_lock = threading.Lock()
_names: dict[str, tuple[str, ...]] = {}  # module that is imported when used -> its names that get a placeholder
_stand_ins: dict[str, "_Later"] = {}
_wanted: set[str] = set()  # of these modules, those that were used
_unchecked: set[str] = set()
_silent: set[str] = set()
_importing = 0  # modules of unchecked packages, at this moment
_replaced: list[Callable] = []  # typeguard's own decorator, once it has been replaced


class _Later(types.ModuleType):
    """Stands for a module until one of its names is wanted; it then becomes that module.

    Not importlib's LazyLoader: that imports for any attribute, and inspect, warnings and unittest ask every module in
    sys.modules for attributes such as `__warningregistry__`; nor does it serve `from module import name`.
    """

    def __getattr__(self, name: str) -> object:
        module = self.__name__
        if name.startswith("__") and name not in ("__all__", "__version__"):
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        if module not in _wanted and name in _names[module]:
            return _Name(module, name)
        real = _load(module)
        if real is self:
            return types.ModuleType.__getattribute__(self, name)
        return getattr(real, name)  # the module put another object in its place


class _Name:
    """Stands for a class or function that was taken out of a module which is not imported yet.

    It imports the module when it is called, subclassed, inspected, pickled, or used in isinstance.
    """

    def __init__(self, module: str, name: str):
        vars(self).update(__module__=module, __name__=name, __qualname__=name)

    def __getattr__(self, name: str) -> object:
        if name == "__signature__":
            return inspect.signature(_real(self))
        if name.startswith("__") and name not in ("__bases__", "__mro__"):
            raise AttributeError(name)
        return getattr(_real(self), name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(_real(self), name, value)

    def __call__(self, *args, **kwargs):
        return _real(self)(*args, **kwargs)

    def __mro_entries__(self, bases: tuple) -> tuple:
        return (_real(self),)

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, _real(self))

    def __subclasscheck__(self, subclass: type) -> bool:
        return issubclass(subclass, _real(self))

    def __or__(self, other: object) -> object:
        return _real(self) | other

    def __ror__(self, other: object) -> object:
        return other | _real(self)

    def __reduce__(self) -> tuple:
        return _named, (self.__module__, self.__name__)

    def __repr__(self) -> str:
        return f"<{self.__module__}.{self.__name__}, imported when used>"


def _named(module: str, name: str) -> object:
    return getattr(_load(module), name)


def _real(name: _Name) -> object:
    return _named(name.__module__, name.__name__)


def _load(name: str) -> types.ModuleType:
    """Import the module that a stand-in stands for: by `import`, whose locks order what threads do at the same time."""
    with _lock:
        if name not in _wanted:
            _wanted.add(name)
            if sys.modules.get(name) is _stand_ins.get(name):
                sys.modules.pop(name, None)
    return importlib.import_module(name)


class _Finder:
    """Finds what the other finders find, and exchanges the loader."""

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        """As importlib defines it."""
        if name not in _names and name not in _silent and name.partition(".")[0] not in _unchecked:
            return None
        others = [finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec")]
        spec = next((spec for finder in others if (spec := finder.find_spec(name, path, target))), None)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader:
    """Makes a stand-in, or the module with what was asked for it."""

    def __init__(self, loader: SourceFileLoader):
        self.loader = loader

    def __getattr__(self, name: str) -> object:
        return getattr(self.loader, name)  # get_source, get_resource_reader, ...

    def create_module(self, spec: ModuleSpec) -> types.ModuleType | None:
        """A stand-in, also when its module is imported in its place; None (a new module) for all others."""
        return _stand_ins.setdefault(spec.name, _Later(spec.name)) if spec.name in _names else None

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing for a stand-in."""
        name = module.__name__
        if name in _names and name not in _wanted:
            return
        module.__loader__ = module.__spec__.loader = self.loader
        if name in _silent:
            module.print = lambda *args, **kwargs: None
        try:
            with _unchecked_typeguard() if name.partition(".")[0] in _unchecked else nullcontext():
                self.loader.exec_module(module)
        finally:
            if name in _silent:
                vars(module).pop("print", None)
        if isinstance(module, _Later) and sys.modules.get(name) is module:
            module.__class__ = types.ModuleType


def _typechecked(target=None, **options):
    """Typeguard's decorator, which leaves alone what one of the unchecked packages defines."""
    if target is None:
        return lambda target: _typechecked(target, **options)
    if (getattr(target, "__module__", None) or "").partition(".")[0] in _unchecked:
        return target
    return _replaced[0](target, **options)


@contextmanager
def _unchecked_typeguard() -> Iterator[None]:
    """Within it, `from typeguard import typechecked` gives the one above."""
    global _importing
    try:
        import typeguard
    except ImportError:  # ESPnet may do without it one day
        yield
        return
    with _lock:
        _importing += 1
        if _importing == 1:
            _replaced[:] = [typeguard.typechecked]
            typeguard.typechecked = _typechecked
    try:
        yield
    finally:
        with _lock:
            _importing -= 1
            if not _importing:
                typeguard.typechecked = _replaced[0]


def _install() -> None:
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def import_when_used(name: str, *names: str) -> None:
    """Let `import name`, and `from name import ...` of the given names, do nothing until they are used.

    Any other `from name import ...` imports the module. Without effect where it has been imported.

    Args:
        name: a module or package, with its dots.
        names: of its classes and functions.
    """
    if name not in sys.modules:
        _names[name] = names
        _install()


def without_type_checks(package: str) -> None:
    """Import a package without typeguard's checks, as `python -O` does: `@typechecked` recompiles each function."""
    _unchecked.add(package)
    _install()


def without_prints(module: str) -> None:
    """Import a module without what it prints while it is imported."""
    _silent.add(module)
    _install()


HEAVY = ("torch", "torchaudio", "transformers", "tokenizers", "safetensors", "peft", "sklearn", "matplotlib")


class _HollowMeta(abc.ABCMeta):
    """The class of classes that stand for what a module of HEAVY has; what is derived from one is an ordinary class."""

    def __getattr__(cls, name: str) -> object:
        if name.startswith("__") or "_hollow" not in vars(cls):
            raise AttributeError(name)
        return _hollow(f"{cls.__name__}.{name}")

    def __or__(cls, other: object) -> object:
        return object  # of annotations

    __ror__ = __or__


def _hollow(name: str) -> type:
    """A class that can be called, subclassed, subscripted, and used as a decorator."""
    body = {
        "_hollow": True,
        "__init__": lambda self, *args, **kwargs: None,
        "__call__": lambda self, function=None, *args, **kwargs: function,
        "__class_getitem__": classmethod(lambda cls, item: cls),
    }
    return _HollowMeta(name, (), body)


class _HollowModule(types.ModuleType):
    __path__: list[str] = []
    __version__ = "2.11.0"  # ESPnet compares versions when it is imported

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        setattr(self, name, _hollow(f"{self.__name__}.{name}"))
        return vars(self)[name]


class _HollowFinder:
    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.partition(".")[0] in HEAVY else None

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        return _HollowModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def declared(cls: type) -> Callable | None:
    """A class itself; for a hollow one, a function that has the arguments of the class in the package's source.

    Their annotations are left out. None where the source has no such class, or its class takes those of another one.
    """
    if "_hollow" not in vars(cls):
        return cls
    *packages, module, name = cls.__name__.split(".")
    spec = PathFinder.find_spec(packages[0]) if packages else None
    place = Path((spec and spec.submodule_search_locations or [""])[0], *packages[1:], module)
    for file in [place.with_suffix(".py"), *sorted(place.glob("*.py"))]:
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        if f"\nclass {name}(" in text:
            body = next(one for one in ast.parse(text).body if isinstance(one, ast.ClassDef) and one.name == name).body
            made = next((one for one in body if isinstance(one, ast.FunctionDef) and one.name == "__init__"), None)
            return made and _function(made.args)
    return None


def _function(args: ast.arguments) -> Callable:
    def default(node: ast.expr | None) -> object:
        try:
            return inspect.Parameter.empty if node is None else ast.literal_eval(node)
        except ValueError:  # an expression
            return None

    plain = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(plain) - len(args.defaults)) + args.defaults
    pairs = [*zip(plain, defaults, strict=True), *zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    kind = inspect.Parameter.KEYWORD_ONLY
    found = [inspect.Parameter(one.arg, kind, default=default(node)) for one, node in pairs if one.arg != "self"]

    def function(**values): ...

    function.__signature__ = inspect.Signature(found)
    return function


def without_torch() -> None:
    """Let torch and its like (HEAVY) be imported as hollow modules: what they define has a name and computes nothing.

    For a process that only looks at classes, their options and their checks: it imports all of them in 0.3 s instead
    of 2. Nothing can be built in it.

    Raises:
        RuntimeError: torch has been imported.
    """
    if "torch" in sys.modules and not isinstance(sys.modules["torch"], _HollowModule):
        raise RuntimeError("torch has been imported already")
    if not any(isinstance(finder, _HollowFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _HollowFinder())
        flags = types.SimpleNamespace(enabled=True, benchmark=False, deterministic=False)  # ESPnet's defaults
        importlib.import_module("torch").backends = types.SimpleNamespace(cudnn=flags)
