"""Old import paths that keep working for one release, with a DeprecationWarning that says the new one."""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any


class MovedModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports of modules that have moved, and names in them that were renamed.

    Args:
        modules: Old module -> new module. A package stands for everything below it that has no row
            of its own.
        names: "old.module.Name" -> "new.module.NewName", for names that do not have the same name
            in the new module.
    """

    def __init__(self, modules: Mapping[str, str], names: Mapping[str, str] | None = None) -> None:
        self.modules = dict(modules)
        self.names = dict(names or {})

    def install(self) -> None:
        """Ask here for modules that are found nowhere else."""
        if not any(
            isinstance(finder, MovedModules) and finder.modules == self.modules
            for finder in sys.meta_path
        ):
            sys.meta_path.append(self)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        """A spec for an old name; None for all others."""
        if self._new_name(fullname) is None:
            return None
        return importlib.util.spec_from_loader(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:  # noqa: ARG002
        """An ordinary empty module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Warn, and look names up in the new module when they are asked for."""
        old, new = module.__name__, self._new_name(module.__name__)
        assert new is not None
        warnings.warn(f"{old} has moved: import from {new}", DeprecationWarning, stacklevel=2)
        present = importlib.import_module(new)
        module.__doc__ = present.__doc__

        def look_up(name: str) -> Any:
            renamed = self.names.get(f"{old}.{name}")
            if renamed is not None:
                return _resolved(f"{old}.{name}", renamed)
            return getattr(present, name)

        module.__getattr__ = look_up  # type: ignore[method-assign]

    def _new_name(self, old: str) -> str | None:
        prefix, rest = old, ""
        while prefix:
            if prefix in self.modules:
                return self.modules[prefix] + rest
            prefix, dot, last = prefix.rpartition(".")
            rest = f"{dot}{last}{rest}"
        return None


def renamed(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's `__getattr__` for names that it no longer has.

    Args:
        module: Its name.
        names: Old name -> "new.module.NewName".
    """

    def look_up(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return _resolved(f"{module}.{name}", names[name])

    return look_up


def _resolved(old: str, new: str) -> Any:
    warnings.warn(f"{old} is now {new}", DeprecationWarning, stacklevel=3)
    module, _, name = new.rpartition(".")
    return getattr(importlib.import_module(module), name)
