"""Name the code that decides what a stage makes: the versions of the stage and of the parts that it uses.

One line per part, such as `architecture cnn 1`. A built-in part counts by its `VERSION` alone; a project's own part
counts by the hash of its syntax tree, too. Parts are read as text and never imported: milliseconds instead of seconds.
"""

import ast
import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from evergreen.core import parts
from evergreen.core.paths import IMPORT_ROOT

PACKAGE = IMPORT_ROOT / "evergreen"
GROUPS = {"source": "sources", "kind": "kinds", "task": "tasks", "architecture": "architectures"}
CONTRACTS = {"source": "Source", "kind": "Kind", "task": "Task", "architecture": "Architecture"}
Definition = tuple[str, ast.AST]  # the text of the file that defines a name, and the node


def code_version(stage: str, used: Mapping[str, Iterable[str]]) -> str:
    """Return the versions of a stage and of the parts it uses, one a line; `used` maps "kind" to names of kinds."""
    own = _module(_text(PACKAGE / "stages" / stage / "stage.py")).get("VERSION")
    lines = [f"stage {stage} {_evaluate(*own) if own else 1}"]
    for part, names in used.items():
        lines += [f"{part} {name} {_part_version(part, name)}" for name in sorted(set(names))]
    return "\n".join(lines) + "\n"


def learned_code_version(stage: str, spec: Mapping[str, Any], task: str, architecture: str) -> str:
    """Return the code version of a stage that trains or uses one architecture, on the columns of a spec's JSON."""
    chosen = [architecture] if architecture else []
    return code_version(stage, {"kind": column_kinds(spec), "task": [task], "architecture": chosen})


def column_kinds(spec: Mapping[str, Any]) -> list[str]:
    """List the kinds by which a spec's JSON encodes its columns; [] of one that is not there yet."""
    fields = [*spec.get("inputs", {}).values(), *([spec["target"]] if "target" in spec else [])]
    return [field.get("encoder") or field["kind"] for field in fields]


def describe_change(old: str, new: str, *, same_parts: bool = False) -> str:
    """Say which parts moved between two code versions: "architecture cnn: version 1 → 2"; or only those in both."""
    lines = ([line.split() for line in text.splitlines()] for text in (old, new))
    before, after = ({" ".join(words[:2]): words[2:] for words in text} for text in lines)
    moves = []
    for part in sorted(before.keys() & after.keys() if same_parts else before.keys() | after.keys()):
        if part == "plan cut":
            moves += ["its plan was cut off"] if before.get(part) != after.get(part) else []
        elif part not in before or part not in after:
            moves.append(f"{part}: {'added' if part in after else 'gone'}")
        elif before[part][0] != after[part][0]:
            moves.append(f"{part}: version {before[part][0]} → {after[part][0]}")
        elif before[part] != after[part]:
            moves.append(f"{part}: its file changed")
    return ", ".join(moves)


def accepting_architectures(kinds: Iterable[str]) -> list[str]:
    """List the architectures, built in or the project's, that accept inputs of all these kinds."""
    input_kinds, accepting = set(kinds), []
    for name in parts.names("architectures"):
        accepts, needs = (_attribute("architecture", name, key) for key in ("ACCEPTS", "NEEDS_ONE_OF"))
        if (accepts is None or "*" in accepts or input_kinds <= set(accepts)) and (
            not needs or input_kinds & set(needs)
        ):
            accepting.append(name)
    return accepting


def baseline_architectures() -> list[str]:
    """List the architectures with which select compares every other one."""
    return [name for name in parts.names("architectures") if _attribute("architecture", name, "IS_BASELINE")]


def _part_version(part: str, name: str) -> str:
    version = str(_attribute(part, name, "VERSION") or 1)
    own = parts.text_of(GROUPS[part], name)
    return version if own is None else f"{version} {_hash(own)}"


def _hash(text: str) -> str:
    """Hash a syntax tree without comments, docstrings and places; the same in every release of Python."""
    with contextlib.suppress(SyntaxError):  # who runs it hears of that
        text = repr(_plain(ast.parse(text)))
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _plain(node: Any) -> Any:
    if isinstance(node, list):
        return [_plain(one) for one in node]
    if not isinstance(node, ast.AST):
        return node
    fields = dict(ast.iter_fields(node))
    documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    if documented and ast.get_docstring(node):  # type: ignore[arg-type]
        fields["body"] = fields["body"][1:]
    return type(node).__name__, {name: _plain(value) for name, value in fields.items() if value not in (None, [])}


@cache
def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""


@cache
def _module(text: str) -> dict[str, Definition]:
    """Return what each top-level name of a file stands for."""
    names: dict[str, Definition] = {}
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return names
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            names[node.name] = text, node
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
            names |= dict.fromkeys(assigned_names(node), (text, node.value))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("evergreen."):
            names |= {one.asname or one.name: (_imported(node.module or "", one.name), one) for one in node.names}
    return names


def assigned_names(node: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement gives a value."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    for target in targets:
        if isinstance(target, ast.Name):
            yield target.id


def _imported(module: str, name: str) -> str:
    """Return the text of the file that `from module import name` reads."""
    path = IMPORT_ROOT.joinpath(*module.split("."))
    files = [path / name / "__init__.py", path / f"{name}.py", path / "__init__.py", path.with_suffix(".py")]
    return _text(next((file for file in files if file.is_file()), files[-1]))


def _resolve(text: str, node: ast.AST) -> Definition | None:
    """Follow a name, or `module.name`, through any imports to its definition."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        module = _module(text).get(node.value.id)
        return _definition(module[0], node.attr) if module else None
    return _definition(text, node.id) if isinstance(node, ast.Name) else None


def _definition(text: str, name: str) -> Definition | None:
    definition = _module(text).get(name)
    if definition and isinstance(definition[1], ast.alias) and definition[0] != text:
        return _definition(definition[0], definition[1].name)
    return definition


def _lineage(text: str, node: ast.AST) -> Iterator[tuple[str, ast.ClassDef]]:
    """Yield a class and all that it inherits from, as far as Evergreen defines them."""
    if isinstance(node, ast.ClassDef):
        yield text, node
        for base in node.bases:
            if definition := _resolve(text, base):
                yield from _lineage(*definition)


def _attribute(part: str, name: str, attribute: str) -> Any:
    """Return the value of a part's class attribute, None where only running it could tell."""
    return _class_attribute(_part_text(part, name), CONTRACTS[part], attribute)


def class_lineage(part: str, name: str) -> tuple[ast.ClassDef, ...]:
    """Return the class of a part and all that it inherits from, as far as Evergreen defines them."""
    return next(_lineages(_part_text(part, name), CONTRACTS[part]), ((), ()))[1]


def _part_text(part: str, name: str) -> str:
    group = GROUPS[part]
    return parts.text_of(group, name) or _text(PACKAGE / parts.FOLDERS[group] / f"{name}.py")


@cache
def _class_attribute(text: str, contract: str, attribute: str) -> Any:
    for homes, owners in _lineages(text, contract):
        for where, owner in zip(homes, owners, strict=True):
            for statement in owner.body:
                if attribute in assigned_names(statement):
                    return _evaluate(where, getattr(statement, "value", None))
    return None


def _lineages(text: str, contract: str) -> Iterator[tuple[tuple[str, ...], tuple[ast.ClassDef, ...]]]:
    """Yield for each class of a file that follows a contract the texts and the classes of its lineage."""
    for home, node in _module(text).values():
        if isinstance(node, ast.alias):  # `from … import Source as Source`: another part under a further name
            home, node = (node.asname and _definition(home, node.name)) or (home, node)
        elif home != text:
            continue
        lineage = [*_lineage(home, node)]
        if any(one.name == contract for _, one in lineage):
            yield tuple(where for where, _ in lineage), tuple(one for _, one in lineage)


def _evaluate(text: str, node: ast.AST | None) -> Any:
    """Evaluate constants, sets of them, their unions, and names of such; None for anything else."""
    match node:
        case ast.Constant():
            return node.value
        case ast.Set() | ast.Tuple() | ast.List():
            return frozenset(_evaluate(text, one) for one in node.elts)
        case ast.Call(func=ast.Name(id="frozenset" | "set")):
            return _evaluate(text, node.args[0]) if node.args else frozenset()
        case ast.BinOp(op=ast.BitOr()):
            left, right = _evaluate(text, node.left), _evaluate(text, node.right)
            return None if left is None or right is None else left | right
        case ast.Name() | ast.Attribute():
            definition = _resolve(text, node)
            return _evaluate(*definition) if definition else None
    return None
