"""A researcher's own patterns, scores and ramp shapes: modules that register them when imported."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

from tf_prune_ofa.errors import UserError


def load_plugins(names: Iterable[str]) -> None:
    """Import each module, or .py file by its path; one that is loaded already is left alone.

    Raises:
        UserError: there is no such module or file. What a plugin itself raises is not caught.
    """
    for name in names:
        path = plugin_file(name)
        if name.endswith(".py"):
            _load_file(path)
        else:
            importlib.import_module(name)


def plugin_file(name: str) -> Path:
    """Return the file of a plugin: what a stage that uses it depends on.

    Raises:
        UserError: there is no such module or file.
    """
    if name.endswith(".py"):
        path = Path(name).resolve()
        if not path.is_file():
            raise UserError(
                f"there is no plugin file {path}; relative paths begin where you started"
            )
        return path
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:  # of a package that it should lie in
        spec = None
    if spec is None or spec.origin is None:
        raise UserError(
            f"there is no plugin module '{name}'; install it, or give the path of a .py file"
        )
    return Path(spec.origin)


def _load_file(path: Path) -> None:
    name = f"tf_prune_ofa_plugin:{path}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"the plugin {path} is no Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
