"""Describe the options of a part by a pydantic model, read from its source: no torch, no Arrow is imported for it."""

import ast
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, create_model

from evergreen.core import config
from evergreen.core.config import Section, Value
from evergreen.stages.code_version import assigned_names, class_lineage

Number = Annotated[float, Field(ge=0, le=1e9)]  # of an option that says no bounds of its own
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
Items = Annotated[list[Value], Field(min_length=1, max_length=1000)]
TYPES: dict[str, Any] = {"float": Number, "int": Count, "bool": bool, "str": str}
BY_NAME = {"size": config.Positive, "dropout": config.Share}  # options that all architectures call alike
OFFERED = ("layout", "target")  # keywords that no person sets
BOUNDS = {name: vars(config)[name] for name in ("Fraction", "Share", "OpenShare", "Positive")}


class Options(Section):
    """Hold the options of a part that were written; its own defaults serve for the others."""

    model_config = ConfigDict(validate_default=False, use_attribute_docstrings=False)  # no source holds these


def options_model(part: str, name: str) -> type[Section]:
    """Return the model of the options that a "task", an "architecture" or a "kind" has."""
    classes = class_lineage(part, name)
    return _of_kind(classes) if part == "kind" else _of_signature(classes)


@cache
def _of_signature(classes: Sequence[ast.ClassDef]) -> type[Section]:
    """Read the keywords of the first constructor in a lineage."""
    constructors = [
        one for owner in classes for one in owner.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"
    ]
    keywords = constructors[0].args.kwonlyargs if constructors else []
    return _model(
        {one.arg: BY_NAME.get(one.arg) or _type(one.annotation) for one in keywords if one.arg not in OFFERED}
    )


@cache
def _of_kind(classes: Sequence[ast.ClassDef]) -> type[Section]:
    """Read the names and defaults in the first OPTIONS of a lineage: a value is of its default's type."""
    statements = [one for owner in classes for one in owner.body if "OPTIONS" in assigned_names(one)]
    options = getattr(statements[0], "value", None) if statements else None
    pairs = zip(options.keys, options.values, strict=True) if isinstance(options, ast.Dict) else ()
    return _model({str(key.value): _type_of_default(value) for key, value in pairs if isinstance(key, ast.Constant)})


def _model(fields: dict[str, Any]) -> type[Section]:
    given: dict[str, Any] = {name: (kind, None) for name, kind in fields.items()}
    return create_model("Options", __base__=Options, **given)


def _type_of_default(node: ast.AST) -> Any:
    value = node.value if isinstance(node, ast.Constant) else None
    return Value | Items if value is None else TYPES[type(value).__name__]


def _type(node: ast.AST | None) -> Any:
    """Return the type that an annotation names; any plain value where it names another."""
    match node:
        case ast.Name(id=name) if name in TYPES | BOUNDS:
            return (TYPES | BOUNDS)[name]
        case ast.Constant(value=None):
            return type(None)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _type(left) | _type(right)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=chosen):
            words = chosen.elts if isinstance(chosen, ast.Tuple) else [chosen]
            return Literal[tuple(one.value for one in words if isinstance(one, ast.Constant))]  # type: ignore[misc]
        case ast.Subscript(value=ast.Name(id="Sequence" | "list"), slice=inner):
            return list[_type(inner)]  # type: ignore[misc]
    return Value | list[Value]
