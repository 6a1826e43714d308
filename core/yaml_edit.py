"""Insert lines into a pipeline's YAML as a person would: every other byte stays where it is.

The new text is parsed before it is written: it must hold the old values and the new ones, and nothing else.
"""

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
    """Add rules of columns to the file's `preprocess: {schema: …}`, which has none of these columns yet.

    Raises PipelineError where the layout of the file allows no safe insertion; the file then stays as it is.
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
        problem = "its layout allows no safe insertion"
        raise PipelineError(problem, place=str(path), fix=fix) from error
    write_text(path, amended)


def quote_key(name: str) -> str:
    """Return a name as a YAML key, in quotes where YAML would read it as something else."""
    plain = PLAIN.fullmatch(name) and name.lower() not in WORDS
    return name if plain else json.dumps(name, ensure_ascii=False)


def to_flow_yaml(values: Mapping[str, Any]) -> str:
    """Return a mapping as YAML on one line; JSON's quotes are valid in YAML, too."""
    return "{" + ", ".join(f"{name}: {_scalar(value)}" for name, value in values.items()) + "}"


def _scalar(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_scalar, value)) + "]"
    return quote_key(value) if isinstance(value, str) else json.dumps(value)


def _plain(text: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

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
    """Return the value of a key in a mapping node. Raises ValueError where the key is missing."""
    pairs = node.value if node is not None and isinstance(node.value, list) else []
    children = [value for one, value in pairs if one.value == name]
    if not children:
        raise ValueError
    return children[0]


def _says(node: Any, name: str) -> bool:
    return any(one.value == name for one, _ in node.value)


def _below(text: str, node: Any, lines: list[str]) -> str:
    """Return the text with lines added after the last one of a mapping in block style."""
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
    """Write a section of one line with one line for each key, unless comments stand between the keys."""
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
    """Return the text with `words` added after the last value of a mapping in flow style."""
    if not node.flow_style:
        raise ValueError
    at = node.start_mark.index + 1 if first else node.value[-1][1].end_mark.index
    return f"{text[:at]}{'' if first else ', '}{words}{text[at:]}"
