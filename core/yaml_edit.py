"""A pipeline's file amended as a person would: the new lines go in, every other byte stays where it was.

What comes out is read again before it is written: it must say what the file said, and the new lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evergreen.core.errors import PipelineError

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # a key that needs no quotes …
WORDS = {"yes", "no", "on", "off", "true", "false", "null", "y", "n"}  # … unless YAML reads it as something else
INDENT = "  "


def add_schema_section(path: Path, schema: Mapping[str, Mapping[str, Any]]) -> None:
    """Adds what `schema` says of columns to the file's `preprocess: {schema: …}`, which says nothing of them yet.

    Raises PipelineError where the file is laid out so that nothing can go in safely; then it stays as it was.
    """
    from evergreen.core.files import write_text

    text = path.read_bytes().decode()
    lines = [f"{quote_key(name)}: {to_flow_yaml(said)}" for name, said in schema.items()]
    try:
        amended = _amended(text, lines)
        wanted = _plain(text)
        wanted["preprocess"]["schema"] = {**(wanted["preprocess"].get("schema") or {}), **schema}
        if _plain(amended) != wanted:
            raise ValueError
    except (ValueError, KeyError, TypeError) as error:
        fix = "write these lines under preprocess: schema: yourself:\n" + "\n".join(f"    {line}" for line in lines)
        problem = "it is laid out so that nothing can be written into it safely"
        raise PipelineError(problem, place=str(path), fix=fix) from error
    write_text(path, amended)


def quote_key(name: str) -> str:
    plain = PLAIN.fullmatch(name) and name.lower() not in WORDS
    return name if plain else json.dumps(name, ensure_ascii=False)


def to_flow_yaml(said: Mapping[str, Any]) -> str:
    """A mapping on one line; JSON's quotes hold for YAML too."""
    return "{" + ", ".join(f"{name}: {_scalar(value)}" for name, value in said.items()) + "}"


def _scalar(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_scalar, value)) + "]"
    return quote_key(value) if isinstance(value, str) else json.dumps(value)


def _plain(text: str) -> Any:
    from ruamel.yaml import YAML, YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise ValueError from error


def _amended(text: str, lines: list[str]) -> str:
    from ruamel.yaml import YAML

    top = YAML(typ="rt", pure=True).compose(text)
    section = _child(top, "preprocess")
    if not isinstance(section.value, list):
        raise ValueError
    if section.flow_style:
        return _in_flow(text, section, lines)
    indent = " " * section.value[0][0].start_mark.column
    schema = _child(section, "schema") if _says(section, "schema") else None
    if schema is None:
        return _below(text, section, [f"{indent}schema:", *(f"{indent}{INDENT}{line}" for line in lines)])
    if isinstance(schema.value, list) and schema.value and not schema.flow_style:
        inner = " " * schema.value[0][0].start_mark.column
        return _below(text, schema, [f"{inner}{line}" for line in lines])
    if isinstance(schema.value, list) and schema.flow_style:
        return _before_brace(text, schema, ", ".join(lines), first=not schema.value)
    raise ValueError


def _child(node: Any, name: str) -> Any:
    """What stands behind a key of a mapping; raises ValueError where it does not."""
    pairs = node.value if node is not None and isinstance(node.value, list) else []
    found = [value for one, value in pairs if one.value == name]
    if not found:
        raise ValueError
    return found[0]


def _says(node: Any, name: str) -> bool:
    return any(one.value == name for one, _ in node.value)


def _below(text: str, node: Any, lines: list[str]) -> str:
    """The text with lines below the last one of a mapping in block style."""
    last = node
    while isinstance(last.value, list) and last.value and not last.flow_style:
        last = last.value[-1][1] if isinstance(last.value[-1], tuple) else last.value[-1]
    at = last.end_mark.index
    if last.end_mark.column:
        end = text.find("\n", at)
        at = len(text) if end < 0 else end + 1
    before = text[:at] if text[:at].endswith("\n") else text[:at] + "\n"
    return before + "".join(f"{line}\n" for line in lines) + text[at:]


def _in_flow(text: str, section: Any, lines: list[str]) -> str:
    """A section on one line becomes one of a line a key, unless comments stand between its keys."""
    start, end = section.start_mark.index, section.end_mark.index
    if _says(section, "schema"):
        schema = _child(section, "schema")
        return _before_brace(text, schema, ", ".join(lines), first=not schema.value)
    if "\n" in text[start:end]:
        return _before_brace(text, section, f"schema: {{{', '.join(lines)}}}", first=not section.value)
    pairs = [f"{INDENT}{text[one.start_mark.index : value.end_mark.index]}" for one, value in section.value]
    block = [*pairs, f"{INDENT}schema:", *(f"{INDENT * 2}{line}" for line in lines)]
    stop = text.find("\n", end)
    rest, stop = (text[end:], len(text)) if stop < 0 else (text[end:stop], stop + 1)
    return text[:start].rstrip(" ") + rest.rstrip("\r") + "\n" + "".join(f"{line}\n" for line in block) + text[stop:]


def _before_brace(text: str, node: Any, words: str, *, first: bool) -> str:
    """The text with words behind the last value of a mapping in flow style."""
    if not node.flow_style:
        raise ValueError
    at = node.start_mark.index + 1 if first else node.value[-1][1].end_mark.index
    return f"{text[:at]}{'' if first else ', '}{words}{text[at:]}"
