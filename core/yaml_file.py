"""Read a YAML file with the line of each of its values; what is not YAML is one error with its line."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evergreen.core import yaml_limits
from evergreen.core.config import S, Section, explain, show_value
from evergreen.core.errors import PipelineError, suggest
from evergreen.core.yaml_limits import line_error

MAX_PROBLEM = 500  # characters of a message


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
            matches = [pair for pair in pairs if pair[0].value == key]
            if not matches:
                break
            line, node = matches[0][0].start_mark.line, matches[0][1]
        return int(line) + 1

    def error(self, problem: str, *keys: str | int, fix: str = "") -> PipelineError:
        """Return a PipelineError at the line of a value."""
        problem = problem if len(problem) <= MAX_PROBLEM else f"{problem[:MAX_PROBLEM]}…"
        return line_error(self.name, self.line(*keys), problem, fix)

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
        return self.check(model, current, *keys, written=written)

    def check(
        self, model: type[S], values: Mapping[str, Any], *keys: str, written: Mapping[Any, str] | None = None
    ) -> S:
        """Read values that stand under `keys` as a model; `written` says which stand there under an older key."""
        try:
            return model.model_validate(values)
        except ValidationError as error:
            problem, location, fix = explain(error, model, values, ".".join(keys))
            written_as = (*keys, *((written or {}).get(key, key) for key in location[:1]), *location[1:])
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

        text = yaml_limits.read_text(path, self.name)
        try:
            yaml_limits.check_events(text, self.name)
            root = YAML(typ="safe").compose(text)
            if root is not None:
                yaml_limits.check_nodes(root, self.name)
        except MarkedYAMLError as error:
            raise self._not_yaml(error) from error
        except (YAMLError, RecursionError) as error:
            line = text.count("\n", 0, getattr(error, "position", None) or 0) + 1
            reason = getattr(error, "reason", None) or str(error).splitlines()[0]
            raise line_error(self.name, line, f"not YAML: {reason}", "write plain UTF-8 text") from error
        if root is None or root.id != "mapping":
            kind = (
                "nothing"
                if root is None or root.tag.endswith(":null")
                else {"sequence": "a list"}.get(root.id, f"a {root.id}")
            )
            problem = "the file is empty" if kind == "nothing" else f"expected keys and values, got {kind}"
            raise line_error(self.name, 1, problem, f"the least is: {self.least}")
        return root

    def _construct(self) -> Any:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError

        try:
            return _plain(YAML(typ="safe").constructor.construct_document(self._root))
        except MarkedYAMLError as error:
            raise self._not_yaml(error) from error
        except (ValueError, RecursionError) as error:
            raise PipelineError(f"not YAML: {error}", place=self.name, fix="put it in quotes") from error

    def _not_yaml(self, error: Any) -> PipelineError:
        mark = error.problem_mark or error.context_mark
        place = f"{self.name}:{mark.line + 1}" if mark else self.name
        fix = "check quotes, brackets, colons and indentation near this line"
        problem = " ".join(str(error.problem or error.context).split())[:MAX_PROBLEM]
        return PipelineError(f"not YAML: {problem}", place=place, fix=fix)


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
