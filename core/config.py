"""A YAML file read into dataclasses: fields are the known keys, type hints the checks, each mistake has its line."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from evergreen.core.errors import PipelineError, suggest


class File:
    """One YAML file: turns its mappings into dataclasses and places each mistake at its line."""

    def __init__(self, place: str) -> None:
        self.place = place

    def load(self, path: Path) -> Mapping[str, Any]:
        from ruamel.yaml import YAML, YAMLError
        from ruamel.yaml.constructor import DuplicateKeyError
        from ruamel.yaml.error import MarkedYAMLError

        try:
            values = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
        except DuplicateKeyError as error:
            line = error.problem_mark.line + 1
            problem = str(error.problem).split(" with value")[0].replace("found duplicate", "duplicate")
            raise PipelineError(problem, place=f"{self.place}:{line}", fix="keep one of the two") from error
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = f"{self.place}:{mark.line + 1}" if mark else self.place
            fix = "check quotes, brackets, colons and indentation near this line"
            raise PipelineError(f"not YAML: {error.problem or error.context}", place=place, fix=fix) from error
        except (YAMLError, UnicodeDecodeError, RecursionError) as error:
            text = str(error).splitlines()[0]
            raise PipelineError(f"not YAML: {text}", place=self.place, fix="write plain UTF-8 text") from error
        if not isinstance(values, dict):
            problem = "the file is empty" if values is None else f"expected keys and values, got {_show(values)}"
            fix = "the least is: task: …, collect: {uri: …}, preprocess: {target: …}"
            raise PipelineError(problem, place=f"{self.place}:1", fix=fix)
        return values

    def line(self, values: Mapping[str, Any], key: str) -> int:
        """The line of a key; of its mapping where the key was not written."""
        position = getattr(values, "lc", None)
        if position is None:
            return 1
        return int((position.data or {}).get(key, [position.line])[0]) + 1

    def error(self, values: Mapping[str, Any], key: str, problem: str, fix: str = "") -> PipelineError:
        return PipelineError(problem, place=f"{self.place}:{self.line(values, key)}", fix=fix)

    def check_keys(
        self,
        values: Mapping[str, Any],
        known: Collection[str],
        required: Iterable[str],
        section: str = "",
        line: int = 0,
    ) -> None:
        for key in values:
            if key not in known:
                where = f" in {section}" if section else ""
                raise self.error(values, key, f"unknown key {key!r}{where}", suggest(str(key), known, "known keys"))
        for key in required:
            if key not in values:
                name = f"{section}.{key}" if section else key
                place = f"{self.place}:{line or self.line(values, key)}"
                raise PipelineError(f"{name} is missing", place=place, fix=f"add {key}: … {_under(section)}")

    def build(self, cls: type, values: Mapping[str, Any], section: str, line: int = 0) -> Any:
        """A dataclass from a mapping: its fields are the known keys, its type hints the checks."""
        hints = typing.get_type_hints(cls)
        fields = [field for field in dataclasses.fields(cls) if field.init]
        none = dataclasses.MISSING
        required = [field.name for field in fields if field.default is none and field.default_factory is none]
        self.check_keys(values, [field.name for field in fields], required, section, line)
        parts = {key: self.convert(values, key, hints[key], section) for key in values}
        try:
            return cls(**parts)
        except ValueError as error:  # the stage's own rule: a number out of range, a contradiction
            named = [key for key in values if key in str(error)]
            place = f"{self.place}:{self.line(values, named[0]) if named else line or self.line(values, '')}"
            text = getattr(error, "problem", str(error))
            text = text if text.startswith(section) else f"{section}: {text}"
            raise PipelineError(text, place=place, fix=getattr(error, "fix", "")) from error

    def convert(self, values: Mapping[str, Any], key: str, hint: Any, section: str = "") -> Any:
        value = values[key]
        name = f"{section}.{key}" if section else key
        if dataclasses.is_dataclass(hint):
            if value is None:
                return None
            if isinstance(value, dict):
                return self.build(typing.cast(type, hint), value, name, self.line(values, key))
            raise self.error(values, key, f"{name} must be keys and values, got {_show(value)}", f"write {key}: {{}}")
        try:
            return _convert(value, hint)
        except TypeError as error:
            raise self.error(values, key, f"{name} must be {error}, got {_show(value)}") from error


def _convert(value: Any, hint: Any) -> Any:
    """A YAML value as the hint's type; raises TypeError with the words for what was expected."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return _plain(value)
    if origin in (typing.Union, types.UnionType):
        return _first(value, inner)
    if origin is typing.Literal:
        if value in inner:
            return value
        raise TypeError("one of " + ", ".join(map(str, inner)))
    if origin in (list, tuple):
        if not isinstance(value, list):
            raise TypeError("a list like [a, b]")
        return origin(_convert(item, inner[0]) for item in value)
    if origin is dict or hint is dict:
        if not isinstance(value, dict):
            raise TypeError("a mapping like {name: value}")
        return {str(key): _convert(item, inner[1] if inner else Any) for key, item in value.items()}
    return _scalar(value, hint)


def _scalar(value: Any, hint: Any) -> Any:
    if hint is types.NoneType and value is None:
        return None
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if hint is str and isinstance(value, str):
        return str(value)
    if hint is str and hasattr(value, "isoformat"):  # YAML reads an unquoted date as a date
        return value.isoformat()
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", types.NoneType: "nothing"}
    raise TypeError(words.get(hint, str(hint)))


def _first(value: Any, hints: Iterable[Any]) -> Any:
    expected = []
    for hint in hints:
        try:
            return _convert(value, hint)
        except TypeError as error:
            expected.append(str(error))
    raise TypeError(" or ".join(expected))


def _plain(value: Any) -> Any:
    """The parser's own number and text classes as Python's."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value.isoformat() if hasattr(value, "isoformat") else value


def _show(value: Any) -> str:
    words: dict[type, str] = {type(None): "nothing", dict: "a mapping", list: "a list"}
    kind = next((word for cls, word in words.items() if isinstance(value, cls)), "")
    return kind or (f"the text {str(value)!r}" if isinstance(value, str) else str(value))


def _under(section: str) -> str:
    return f"under {section}:" if section else "at the top of the file"
