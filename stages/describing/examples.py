"""Some training rows as a person sees them: pictures, sounds, stretches, graphs, texts; else values in a table."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.data import kinds
from evergreen.data.arrow import decode_array, stack_lists, to_strings
from evergreen.data.field import TensorField
from evergreen.stages.drawing.graphs import graph
from evergreen.stages.drawing.markup import table
from evergreen.stages.drawing.over import boxed, tinted
from evergreen.stages.drawing.pictures import image, spark

if TYPE_CHECKING:
    from evergreen.data.spec import FeatureSpec
    from evergreen.stages.preprocess.samples import Samples

SHOWN, LINES, ACROSS = 12, 6, 10  # examples; rows and columns of a table
LONGEST = 280  # characters of a text
POINTS = 400  # of a course
PICTURED = ("image", "audio", "graph", "series", "text", "tokens")


def examples(samples: Samples, spec: FeatureSpec) -> str:
    """Rows of the sample, of each class in turn where there are classes, as `spec` encodes them."""
    chosen = samples.train.take(_spread(samples))
    shown = {name: kind for name, kind in samples.inputs.items() if kind in PICTURED}
    target = samples.kind in ("image", "mask", "boxes", "text", "tags", "series")
    if not shown and not target:
        return _table(chosen, [samples.target, *samples.inputs])
    parts = [_parts(chosen, row, spec, shown) for row in range(len(chosen))]
    wide = " wide" if any(kind in ("series", "text", "tokens") for kind in shown.values()) or len(shown) > 1 else ""
    figures = "".join(f"<figure>{part}{_origin(chosen, row)}</figure>" for row, part in enumerate(parts))
    return f'<div class="wrong-ones{wide}">{figures}</div>'


def _spread(samples: Samples) -> list[int]:
    train = samples.train
    if samples.kind != "category":
        return np.unique(np.linspace(0, len(train) - 1, SHOWN).round().astype(int)).tolist()
    classes = to_strings(decode_array(train.column(samples.target))).to_pylist()
    seen: dict[Any, int] = {}
    order = []
    for row, name in enumerate(classes):
        seen[name] = seen.get(name, -1) + 1
        order.append((seen[name], str(name), row))
    return [row for _, _, row in sorted(order)[:SHOWN]]


def _parts(rows: pa.Table, row: int, spec: FeatureSpec, shown: dict[str, str]) -> str:
    """What a row looks like, and its target."""
    one, target = rows.slice(row, 1), spec.target.kind
    if target == "series":
        history, values = (stack_lists(decode_array(one.column(name)))[0] for name in ("history", spec.target_name))
        past = history.reshape(history.shape[1], -1)[:, 0].tolist()
        return spark(past, values.reshape(-1).tolist(), []) + _said(spec.target_name, _short(values.ravel().tolist()))
    drawn = [_drawn(spec.inputs.get(name), one, name, kind) for name, kind in shown.items()]
    true = decode_array(one.column(spec.target_name))
    if target in ("mask", "boxes"):
        picture = next(_encoded(field, one) for field in spec.inputs.values() if field.kind == "image")
        return _over(picture, _encoded(spec.target, one), spec.target)
    if target == "image":
        return "".join([*drawn, image(_encoded(spec.target, one), spec.target_name)])
    value = true[0].as_py()
    return "".join(drawn) + _said(spec.target_name, _short(value))


def _encoded(field: TensorField, row: pa.Table) -> Any:
    """What a model sees of the row's field."""
    return kinds.kind_of(field).encode(field, [decode_array(row.column(name)) for name in field.columns])[0]


def _drawn(field: TensorField | None, row: pa.Table, name: str, kind: str) -> str:
    if kind in ("text", "tokens") or field is None:
        value = row.column(name)[0].as_py()
        words = " ".join(value) if isinstance(value, list) else str(value or "")
        return f"<p>{escape(words[:LONGEST])}{'…' if len(words) > LONGEST else ''}</p>"
    values = _encoded(field, row)
    if kind == "image":
        return image(values, name)
    if kind == "audio" and values.shape[1] > 1:
        tones = values.T[None, ::-1]
        thick = max(1, round(tones.shape[2] / tones.shape[1]))  # so that the picture is about a square
        return image(tones.repeat(thick, axis=1), f"{name}: which tones, from low to high, at which time")
    if kind == "graph":
        return graph(values, field.state, name)
    course = values.reshape(len(values), -1)[:, 0]
    return spark(course[:: 1 + len(course) // POINTS].tolist(), [], [])


def _over(picture: Any, target: Any, field: TensorField) -> str:
    if field.kind == "mask":
        return f'<div class="trio two">{image(picture, "")}{image(tinted(picture, target), "with its mask")}</div>'
    found = kinds.kind_of(field).decode(field, target[None])[0]
    return boxed(picture, field.state["size"], found, [], "with its boxes") + escape(
        ", ".join(sorted(box["class"] for box in found))
    )


def _said(name: str, value: str) -> str:
    return f"<div>{escape(name)} <b>{escape(value)}</b></div>"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_short(one) for one in value[:8]) + (", …" if len(value) > 8 else "")
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:LONGEST]


def _table(rows: pa.Table, names: list[str]) -> str:
    names = [name for name in dict.fromkeys(names) if name in rows.column_names][:ACROSS]
    some = rows.select(names).slice(0, LINES)
    columns = [_dates(column) if pa.types.is_timestamp(column.type) else column.to_pylist() for column in some.columns]
    lines = [[_short(value) for value in row] for row in zip(*columns, strict=True)]
    return table(names, lines)


def _dates(times: pa.ChunkedArray) -> list[str]:
    """Times as people write them: without the hour where it is midnight."""
    return [(text or "").removesuffix(" 00:00:00Z") for text in pc.strftime(times, "%Y-%m-%d %H:%M:%SZ").to_pylist()]


def _origin(rows: pa.Table, row: int) -> str:
    return f'<div class="soft"><code>{escape(str(rows.column("_origin")[row]))}</code></div>'
