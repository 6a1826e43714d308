"""Refuse at once what no person writes into a YAML file, before it takes time or memory; each error has its line."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evergreen.core.errors import PipelineError

MAX_BYTES = 2**20  # of a file that a person writes
MAX_VALUES = 100_000  # of a file whose aliases are written out: ten lines of them can stand for billions
MAX_DEPTH = 50  # brackets in brackets: the parser in C crashes at some tens of thousands
MAX_DIGITS = 400  # of a number
LONG_TAG = re.compile(r"![^\s\"']{200}|(^%.*\n){3}", re.MULTILINE)  # the parser reads one in quadratic time
PLAIN = {"str", "int", "float", "bool", "null", "timestamp", "merge", "value", "seq", "map"}  # YAML's own tags
CORE = "tag:yaml.org,2002:"
SMALLER = "keep data in the source that it names"


def line_error(name: str, line: int, problem: str, fix: str) -> PipelineError:
    """Return the error for a mistake at a line of a file, counted from 1."""
    return PipelineError(problem, place=f"{name}:{line}", fix=fix)


def read_text(path: Path, name: str) -> str:
    """Return the text of a file that messages call `name`. Raises PipelineError where it is no text or too long."""
    try:
        if not path.is_file():  # reading a pipe would wait for ever
            problem = "it is not a file" if path.exists() or path.is_symlink() else "there is no such file"
            raise PipelineError(problem, place=name, fix="put a YAML file there")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise PipelineError(f"the file has {size:,} bytes, more than {MAX_BYTES:,}", place=name, fix=SMALLER)
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise line_error(name, line, f"not YAML: {error.reason}, no UTF-8", "save it as UTF-8 text") from error
    except OSError as error:
        raise PipelineError(f"cannot be read ({error.strerror})", place=name, fix="make it readable") from error
    if found := LONG_TAG.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise line_error(name, line, "not YAML: a tag or directive that nothing needs", "put a text in quotes")
    return text


def check_events(text: str, name: str) -> None:
    """Raise PipelineError for more values, or brackets in brackets, than a person writes."""
    from ruamel.yaml import YAML
    from ruamel.yaml.events import MappingEndEvent, MappingStartEvent, SequenceEndEvent, SequenceStartEvent

    depth = 0
    for number, event in enumerate(YAML(typ="safe").parse(text)):
        depth += isinstance(event, MappingStartEvent | SequenceStartEvent)
        depth -= isinstance(event, MappingEndEvent | SequenceEndEvent)
        line = event.start_mark.line + 1
        if depth > MAX_DEPTH:
            raise line_error(name, line, f"more than {MAX_DEPTH} brackets in brackets", "write less deeply")
        if number > MAX_VALUES:
            raise line_error(name, line, f"the file has more than {MAX_VALUES:,} values", SMALLER)


def check_nodes(root: Any, name: str) -> None:
    """Raise PipelineError for a value of no plain type or that YAML cannot read, and for aliases by the million."""
    from ruamel.yaml import YAML

    if _size(root, {}, name) > MAX_VALUES:
        problem = f"its aliases stand for more than {MAX_VALUES:,} values"
        raise line_error(name, root.start_mark.line + 1, problem, "write the values that are meant")
    read = YAML(typ="safe").constructor.construct_object
    for node in _nodes(root, set()):
        line, kind = node.start_mark.line + 1, str(node.tag).removeprefix(CORE)
        if kind not in PLAIN:
            fix = "write text, a number, a list or a mapping"
            raise line_error(name, line, f"not YAML: a value of type {kind[:100]!r}", fix)
        if kind in ("int", "float") and len(node.value) > MAX_DIGITS:
            raise line_error(name, line, f"not YAML: a number of {len(node.value):,} digits", "put a text in quotes")
        try:
            if kind in ("int", "float", "timestamp"):
                read(node, deep=True)
        except ValueError as error:
            raise line_error(name, line, f"not YAML: {str(error)[:200]}", "put it in quotes") from error
        keys: set[str] = set()
        for key in (pair[0] for pair in node.value if node.id == "mapping"):
            line = key.start_mark.line + 1
            if not isinstance(key.value, str) or key.tag in (f"{CORE}null", f"{CORE}bool"):
                raise line_error(name, line, "a key that is not text", "put it in quotes")
            if key.value in keys:
                raise line_error(name, line, f"duplicate key {key.value[:100]!r}", "keep one of the two")
            keys.add(key.value)


def _nodes(node: Any, seen: set[int]) -> Iterator[Any]:
    """Yield a node and all below it, each once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    yield node
    for part in _parts(node):
        yield from _nodes(part, seen)


def _parts(node: Any) -> Iterator[Any]:
    for child in node.value if isinstance(node.value, list) else ():
        yield from child if isinstance(child, tuple) else (child,)


def _size(node: Any, sizes: dict[int, int], name: str) -> int:
    """Count the values under a node as if each alias were written out. Raises PipelineError for a loop."""
    if id(node) in sizes:
        if not sizes[id(node)]:
            problem = "not YAML: an alias stands inside its own anchor"
            raise line_error(name, node.start_mark.line + 1, problem, "write the values that are meant")
        return sizes[id(node)]
    sizes[id(node)] = 0
    sizes[id(node)] = 1 + sum(_size(part, sizes, name) for part in _parts(node))
    return sizes[id(node)]
