"""Find parts: architectures, tasks, kinds and sources, Evergreen's own and those of a project.

A part is one file whose name registers it. A project keeps its own in the same folders as Evergreen: `use` makes them
known. They are loaded from their text, under a module name of Evergreen's own: nothing of a project ever lies on
sys.path, the text is all that travels to a worker (`adopt`), and a released model carries it (`carry`).
"""

import importlib
import linecache
import re
import sys
import traceback
from collections.abc import Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import evergreen
from evergreen.core.errors import UserError

FOLDERS = {
    "architectures": "models/architectures",
    "tasks": "models/tasks",
    "kinds": "data/kinds",
    "sources": "data/sources",
}
ALIASES: dict[str, dict[str, str]] = {  # further names of the built-in ones: of sources, schemes and file endings
    "sources": {
        **{"tsv": "csv", "txt": "texts", "md": "texts", "ndjson": "jsonl", "feather": "arrow"},
        **{"http": "https", "abfss": "gs"},
    }
}
USES_EVERGREEN = re.compile(r"^\s*(from|import) evergreen\b", re.MULTILINE)  # others are none of our business
Part = TypeVar("Part")

_project: dict[str, str] = {}  # "kinds/angle" → the text of the project's file
_carried: dict[str, str] = {}  # "kinds/angle@3f2a…" → the text that a released model carries


class PartError(UserError):
    """Report a file of a project that cannot serve as a part."""


def use(root: Path) -> None:
    """Make the parts of the project at `root` known, in place of those of another project.

    Raises PartError for a file that has the name, or an alias, of one of Evergreen's own parts.
    """
    texts = {}
    for group, folder in FOLDERS.items():
        if (root / folder).resolve() == (Path(evergreen.__file__).parent / folder).resolve():
            continue  # this repository is tool and project: its parts are the built-in ones
        for path in sorted((root / folder).glob("[!_]*.py")):
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", "") or "it is no UTF-8 text"
                raise PartError(f"cannot be read ({reason})", place=f"{folder}/{path.name}", fix="mend it") from error
            if not USES_EVERGREEN.search(text):
                continue
            if path.stem in (*builtin(group), *ALIASES.get(group, ())):
                problem = f"Evergreen has a part {path.stem!r} of its own"
                raise PartError(problem, place=f"{folder}/{path.name}", fix="give the file another name")
            texts[f"{group}/{path.stem}"] = text
    adopt(texts)


def adopt(texts: Mapping[str, str]) -> None:
    """Make a project's parts known by their texts: what `project_texts` returned in another process."""
    _project.clear()
    _project.update(texts)


def project_texts() -> dict[str, str]:
    """Return the texts of the project's parts, by "group/name"."""
    return dict(_project)


def carry(texts: Mapping[str, str]) -> dict[str, str]:
    """Make the parts known that a model carries, each beside any other of its name; return name → name here."""
    names = {}
    for key, text in texts.items():
        carried_key = f"{key}@{blake2b(text.encode(), digest_size=6).hexdigest()}"
        _carried[carried_key] = text
        names[key] = carried_key.partition("/")[2]
    return names


def text_of(group: str, name: str) -> str | None:
    """Return the text of a part that is not built in; None for one that is."""
    key = f"{group}/{name}"
    return _project.get(key) or _carried.get(key)


def read_text(group: str, name: str) -> str:
    """Return the text of any part."""
    built_in = Path(evergreen.__file__).parent / FOLDERS[group] / f"{name}.py"
    return text_of(group, name) or built_in.read_text(encoding="utf-8")


def names(group: str) -> list[str]:
    """Return the names of all parts of a group, in alphabetical order."""
    return sorted([*builtin(group), *(key.partition("/")[2] for key in _project if key.startswith(f"{group}/"))])


def is_known(group: str, name: str) -> bool:
    """Tell whether `load` finds the part."""
    return name in builtin(group) or text_of(group, name) is not None


@cache
def builtin(group: str) -> frozenset[str]:
    """Return the names of Evergreen's own parts of a group."""
    return frozenset(path.stem for path in (Path(evergreen.__file__).parent / FOLDERS[group]).glob("[!_]*.py"))


def load(group: str, name: str) -> ModuleType:
    """Return the module of a part, loaded once for each text. Raises PartError for a file that cannot be imported."""
    text = text_of(group, name)
    if text is None:
        return importlib.import_module(f"evergreen.{FOLDERS[group].replace('/', '.')}.{name}")
    return _from_text(group, name, text)


def find(group: str, name: str, base: type[Part]) -> type[Part]:
    """Return the one subclass of `base` that a part's file defines. Raises PartError where there is not one."""
    return _the_class(load(group, name), f"{FOLDERS[group]}/{name}.py", base)  # type: ignore[arg-type]


@cache
def _the_class(module: ModuleType, place: str, base: Any) -> type[Any]:
    classes = [item for item in vars(module).values() if isinstance(item, type) and issubclass(item, base)]
    defined = [item for item in classes if item.__module__ == module.__name__]
    if len(defined) != 1:
        problem = f"it defines {len(defined)} subclasses of {base.__name__}"
        raise PartError(problem, place=place, fix="define exactly one")
    return defined[0]


@cache
def _from_text(group: str, name: str, text: str) -> ModuleType:
    file = f"{FOLDERS[group]}/{name.partition('@')[0]}.py"
    module = ModuleType(f"evergreen_parts.{group}.{name}")
    module.__file__ = file
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)  # tracebacks show its lines
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        exec(compile(text, file, "exec", dont_inherit=True), vars(module))
    except (SyntaxError, ImportError, NameError, AttributeError, TypeError, ValueError, LookupError) as error:
        del sys.modules[module.__name__]
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        line = lines[-1] if lines else getattr(error, "lineno", "?")
        problem = f"it cannot be imported ({type(error).__name__}: {error})"
        raise PartError(problem, place=f"{file}:{line}", fix="correct the file") from error
    return module
