"""Describe the sections of YAML files by pydantic models, and explain what is wrong with a section in a line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from evergreen.core.errors import PipelineError, suggest

WORDS = {  # pydantic's type of an error → what was expected
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "none_required": "nothing",
    "list_type": "a list like [a, b]",
    "dict_type": "a mapping like {name: value}",
    "model_type": "a mapping like {name: value}",
}


def is_before(first: Moment | None, second: Moment | None) -> bool | None:
    """Tell whether one time or number lies before another; None where that cannot be said without the data."""
    texts = [one for one in (first, second) if isinstance(one, str)]
    if None in (first, second) or len(texts) == 1 or not all(MONTH.match(text) for text in texts):
        return None
    return bool(first < second)  # type: ignore[operator]


def _check_moment(moment: str | int | float) -> str | int | float:
    """Raise PipelineError for a text that is neither a time nor a number."""
    if isinstance(moment, str) and not MONTH.fullmatch(moment):
        try:
            datetime.fromisoformat(moment)
        except ValueError as error:
            if not NUMBER.fullmatch(moment):
                problem = f"{show_value(moment)} is not a time"
                raise PipelineError(problem, fix="write a number or a time: 2026-01-31") from error
    return moment


def _check_differ(values: list[Any]) -> list[Any]:
    """Raise PipelineError where a list holds a value twice."""
    seen: set[tuple[type, Any]] = set()
    for value in values:
        if (type(value), value) in seen:
            raise PipelineError(f"{show_value(value)} occurs twice", fix="keep one of the two")
        seen.add((type(value), value))
    return values


DIFFERENT = (AfterValidator(_check_differ), Field(json_schema_extra={"uniqueItems": True}))
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what NumPy and torch both take
Fraction = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, le=1e9)]
Moment = Annotated[str | int | float, AfterValidator(_check_moment)]  # a time, or a number that grows with it
Value = str | bool | int | float | None  # of a cell
Name = Annotated[str, Field(min_length=1, max_length=1000)]  # of a column
NameOrNone = Annotated[str, Field(max_length=1000)]  # "" is none
Names = Annotated[list[Name], *DIFFERENT]
MAX_SHOWN = 100  # characters of a key or text in a message
MONTH = re.compile(r"\d{4}-\d\d")
NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d{1,2})?")
NAMES: dict[type, str] = {type(None): "nothing", dict: "a mapping", list: "a list"}


class Section(BaseModel):
    """Hold one section of a YAML file: no unknown keys, no conversions, no changes once it is read."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,  # it may be a secret
    )
    RENAMED: ClassVar[Mapping[str, str]] = {}  # keys of earlier versions → today's; they are read with a warning
    REWORDED: ClassVar[Mapping[str, Mapping[str, str]]] = {}  # key → its values of earlier versions → today's

    @classmethod
    def known_keys(cls) -> list[str]:
        """Return the keys that the section may have in YAML."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema of the section, in which keys of earlier versions are deprecated."""
        schema = cls.model_json_schema()
        schema["properties"] |= {
            old: {"deprecated": True, "description": f"Now `{new}`."} for old, new in cls.RENAMED.items()
        }
        for key, words in cls.REWORDED.items():
            schema["properties"][key]["enum"] += words
        return schema if "required" in schema else schema | {"type": ["object", "null"]}


S = TypeVar("S", bound=Section)


def build(model: type[S], values: Mapping[str, Any], name: str) -> S:
    """Make a section from values that stand in no file; `name` is its name in messages. Raises PipelineError."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problem, _, fix = explain(error, model, values, "")
        raise PipelineError(problem, place=name, fix=fix) from error


def explain(
    error: ValidationError, model: type[Section], values: Mapping[str, Any], section: str
) -> tuple[str, tuple[str | int, ...], str]:
    """Return the first mistake in `values` as (problem, keys to it, fix): unknown keys first, then missing ones."""
    ranks = {"extra_forbidden": 0, "missing": 1}
    order = {key: place for place, key in enumerate(values)}
    details = sorted(
        error.errors(include_url=False),
        key=lambda one: (ranks.get(one["type"], 2), order.get(str(one["loc"][0]), 0) if one["loc"] else len(order)),
    )
    first, kind = details[0], details[0]["type"]
    location, prefix = _written_keys(first["loc"], values), f"{section}: " if section else ""
    name = _path(section, *location)
    if kind == "extra_forbidden":
        where = f" in {section}" if section else ""
        fix = suggest(str(first["loc"][0]), model.known_keys(), "known keys")
        return f"unknown key {_key(location[0])}{where}", location, fix
    if kind == "missing":
        key = str(first["loc"][0])
        fix = f"add {key}: … under {section}:" if section else f"add {key}: …"
        return f"{_path(section, key)} is missing", (), fix
    if kind == "value_error":
        cause = first["ctx"]["error"]
        problem, fix = getattr(cause, "problem", str(cause)), getattr(cause, "fix", "")
        named = location or tuple(key for key in values if key in problem)[:1]
        prefix = f"{name}: " if location else prefix
        return (problem if section and problem.startswith(section) else f"{prefix}{problem}"), named, fix
    value = _value_at(values, location)
    same_place = [one for one in details if _written_keys(one["loc"], values) == location]
    words = [_expected(one) for one in same_place if _expected(one)]
    if words and len(words) == len(same_place):
        expected = " or ".join(dict.fromkeys(words))
        hint = suggest(str(value), expected.removeprefix("one of ").split(", "))
        fix = hint if hint.startswith("did") else ""
        return f"{name} must be {expected}, got {show_value(value)}", location, fix
    first = next(one for one in same_place if not _expected(one))
    shown = _path(*location)
    problem = (
        f"{shown} has {len(value)} values" if value and isinstance(value, list) else f"{shown} is {show_value(value)}"
    )
    return f"{prefix}{problem}", location, _bounds(model, location, first)


def _expected(detail: Any) -> str:
    if detail["type"] == "literal_error":
        expected: str = detail["ctx"]["expected"]
        return "one of " + expected.replace("' or '", "', '").replace("'", "").removeprefix(", ")
    return WORDS.get(detail["type"], "")


def _bounds(model: type[Section], location: Sequence[str | int], detail: Any) -> str:
    """Return the hint for a value out of bounds: both bounds of the field where it has two."""
    context = detail.get("ctx", {})
    if "pattern" in context:
        return f"write it as {' or '.join(_field(model, location)['examples'])}"
    if "min_length" in context or "max_length" in context:
        word, key = ("most", "max_length") if "max_length" in context else ("least", "min_length")
        unit = "characters" if detail["type"].startswith("string") else "values"
        return f"give at {word} {context[key]} {unit}"
    field = _field(model, location)
    parts = [field.get("items", {})] if len(location) > 1 else [field, *field.get("anyOf", ())]
    limits = {name: value for part in parts for name, value in part.items() if name.lower().endswith("mum")}
    low, high = (limits.get(f"exclusive{name}", limits.get(name.lower())) for name in ("Minimum", "Maximum"))
    if low is not None and high is not None and high <= 1:
        return f"give a fraction between {low:g} and {high:g}"
    if detail["type"].startswith("less"):
        return f"give at most {high:,}"
    return f"give a number above {low:,}" if "exclusiveMinimum" in limits else f"give at least {low:,}"


def _field(model: type[Section], location: Sequence[str | int]) -> dict[str, Any]:
    field: dict[str, Any] = model.model_json_schema()["properties"].get(location[0], {})
    return field


def _written_keys(location: Sequence[Any], values: Any) -> tuple[Any, ...]:
    """Return the keys of a location that stand in the file; pydantic adds the names of a union's types."""
    written: list[Any] = []
    for key in location:
        if (isinstance(values, dict) and key in values) or (isinstance(values, list) and isinstance(key, int)):
            written.append(key)
            values = values[key]
        else:
            break
    return tuple(written)


def _path(*keys: str | int) -> str:
    """Return keys as a message names them, in one line."""
    return ".".join(
        str(key) if str(key).isprintable() and len(str(key)) <= MAX_SHOWN else _key(key) for key in keys if key != ""
    )


def _key(key: str | int) -> str:
    return repr(key if len(str(key)) <= MAX_SHOWN else f"{str(key)[:MAX_SHOWN]}…")


def _value_at(values: Any, location: Sequence[str | int]) -> Any:
    for key in location:
        values = values[key]
    return values


def show_value(value: Any) -> str:
    """Return a value as a message shows it: texts in quotes and cut, mappings and lists by their kind."""
    kind = next((word for cls, word in NAMES.items() if isinstance(value, cls)), "")
    if isinstance(value, str):
        return f"the text {_key(value)}"
    return kind or str(value).lower()
