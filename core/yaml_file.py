"""Read a YAML file with the line of each of its values; what is not YAML is one error with its line."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evergreen.core.config import S, Section, explain, show_value
from evergreen.core.errors import PipelineError, suggest

MAX_BYTES = 2**20  # of a file that a person writes
MAX_VALUES = 100_000  # of a file whose aliases are written out: ten lines of them can stand for billions


class YamlFile:
    """One YAML file: its `values` as plain Python, and the line of each. Raises PipelineError for what is not YAML."""

    def __init__(self, path: Path, name: str, least: str) -> None:
        """Read the file at `path`; messages call it `name`, and say what is the `least` that it must hold."""
        self.name, self.least = name, least
        self._root = self._parse(path)
        self.values: dict[str, Any] = self._construct()

    def line(self, *keys: str | int) -> int:
        """Return the line of a value, counted from 1: of the innermost key on the way to it that was written."""
        node, line = self._root, self._root.start_mark.line
        for key in keys:
            if isinstance(key, int):
                node = node.value[key]
                line = node.start_mark.line
                continue
            pairs = node.value if node.id == "mapping" else []
            found = [pair for pair in pairs if pair[0].value == key]
            if not found:
                break
            line, node = found[0][0].start_mark.line, found[0][1]
        return int(line) + 1

    def error(self, problem: str, *keys: str | int, fix: str = "") -> PipelineError:
        """Return a PipelineError at the line of a value."""
        return PipelineError(problem, place=f"{self.name}:{self.line(*keys)}", fix=fix)

    def check_keys(self, known: Collection[str], required: Iterable[str]) -> None:
        """Raise PipelineError for an unknown key at the top of the file, or a missing one."""
        for key in self.values:
            if key not in known:
                raise self.error(f"unknown key {key[:100]!r}", key, fix=suggest(key, known, "known keys"))
        for key in required:
            if key not in self.values:
                raise self.error(f"{key} is missing", fix=f"add {key}: … at the top of the file")

    def section(self, model: type[S], *keys: str) -> S:
        """Read the mapping under `keys` (none: the whole file) as a model; left out or empty, its defaults serve."""
        values: Any = self.values
        for key in keys:
            values = values.get(key)
        name = ".".join(keys)
        if values is not None and not isinstance(values, dict):
            problem = f"{name} must be keys and values, got {show_value(values)}"
            raise self.error(problem, *keys, fix=f"write {name}: {{}}")
        current, written = self._current(model, values or {}, keys)
        try:
            return model.model_validate(current)
        except ValidationError as error:
            problem, location, fix = explain(error, model, current, name)
            written_as = (*keys, *(written.get(key, key) for key in location[:1]), *location[1:])
            raise self.error(problem, *written_as, fix=fix) from error

    def _current(
        self, model: type[Section], values: Mapping[str, Any], keys: Sequence[str]
    ) -> tuple[dict[str, Any], dict[Any, str]]:
        """Return the values under today's keys, and the key that each was written under where that is an old one."""
        current: dict[str, Any] = {}
        written: dict[Any, str] = {}
        for key, value in values.items():
            new = model.RENAMED.get(key, key)
            if new != key:
                written[new] = key
                self._warn(f"`{key}` is now `{new}`", *keys, key)
            if new in current:
                raise self.error(f"{new} is said twice", *keys, key, fix=f"keep one of {new} and {written[new]}")
            words = model.REWORDED.get(new, {})
            current[new] = words.get(value, value) if isinstance(value, str) else value
            if current[new] is not value:
                self._warn(f"`{new}: {value}` is now `{new}: {current[new]}`", *keys, key)
        return current, written

    def _warn(self, change: str, *keys: str) -> None:
        _warn_once(f"{self.name}:{self.line(*keys)}: {change}")

    def _parse(self, path: Path) -> Any:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError, YAMLError

        if (size := path.stat().st_size) > MAX_BYTES:
            problem = f"the file has {size:,} bytes, more than {MAX_BYTES:,}"
            raise PipelineError(problem, place=self.name, fix="keep data in the source that it names")
        try:
            root = YAML(typ="safe").compose(path.read_text(encoding="utf-8"))
            size = 0 if root is None else _size(root, {})
        except MarkedYAMLError as error:
            raise self._not_yaml(error) from error
        except (YAMLError, UnicodeDecodeError, RecursionError) as error:
            text = str(error).splitlines()[0]
            raise PipelineError(f"not YAML: {text}", place=self.name, fix="write plain UTF-8 text") from error
        if size > MAX_VALUES:
            problem = f"its aliases stand for more than {MAX_VALUES:,} values"
            raise PipelineError(problem, place=self.name, fix="write the values that are meant")
        if root is None or root.id != "mapping":
            found = (
                "nothing"
                if root is None or root.tag.endswith(":null")
                else {"sequence": "a list"}.get(root.id, f"a {root.id}")
            )
            problem = "the file is empty" if found == "nothing" else f"expected keys and values, got {found}"
            raise PipelineError(problem, place=f"{self.name}:1", fix=f"the least is: {self.least}")
        return root

    def _construct(self) -> Any:
        from ruamel.yaml import YAML
        from ruamel.yaml.constructor import DuplicateKeyError
        from ruamel.yaml.error import MarkedYAMLError

        try:
            return _plain(YAML(typ="safe").constructor.construct_document(self._root))
        except DuplicateKeyError as error:
            problem = str(error.problem).split(" with value")[0].replace("found duplicate", "duplicate")
            place = f"{self.name}:{error.problem_mark.line + 1}"
            raise PipelineError(problem, place=place, fix="keep one of the two") from error
        except MarkedYAMLError as error:
            raise self._not_yaml(error) from error
        except (ValueError, RecursionError) as error:
            raise PipelineError(f"not YAML: {error}", place=self.name, fix="put it in quotes") from error

    def _not_yaml(self, error: Any) -> PipelineError:
        mark = error.problem_mark or error.context_mark
        place = f"{self.name}:{mark.line + 1}" if mark else self.name
        fix = "check quotes, brackets, colons and indentation near this line"
        return PipelineError(f"not YAML: {error.problem or error.context}", place=place, fix=fix)


def _size(node: Any, sizes: dict[int, int]) -> int:
    """Count the values under a node as if each alias were written out. Raises RecursionError for a loop."""
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise RecursionError("an alias stands inside its own anchor")
        return sizes[id(node)]
    sizes[id(node)] = 0
    children = node.value if isinstance(node.value, list) else []
    parts = (part for child in children for part in (child if isinstance(child, tuple) else (child,)))
    sizes[id(node)] = 1 + sum(_size(part, sizes) for part in parts)
    return sizes[id(node)]


def _plain(value: Any) -> Any:
    """Return keys as text and dates as they are written: YAML reads an unquoted 2024-02-29 as a date."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if not isinstance(value, str | int | float | None):
        raise ValueError(f"a value of type {type(value).__name__}")
    return value


@cache
def _warn_once(text: str) -> None:
    logging.getLogger("evergreen").warning(text)
