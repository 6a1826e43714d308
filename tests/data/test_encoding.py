"""A row is encoded alike however it came: alone as JSON or among others in a file, at once or in parts.

This holds for every kind in data/kinds/, whatever its columns hold; a new one needs a Case.
"""

import datetime
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from evergreen.core.errors import DataError
from evergreen.data import kinds, row_ids
from evergreen.data.field import TensorField
from evergreen.data.kinds import _images as pixels
from evergreen.data.spec import FeatureSpec

SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
ALIKE = settings(max_examples=10, derandomize=True, deadline=None, suppress_health_check=SLOW, database=None)
ROWS = {"min_size": 4, "max_size": 12}
FLOATS = st.floats(-1e30, 1e30, allow_subnormal=False)
NEAR = st.floats(-1e3, 1e3, width=32, allow_subnormal=False)
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Nd", "Cs"]), min_size=1, max_size=12).filter(
    str.strip
)
NAMES = st.sampled_from(["sea", "sky", "Köln", "雨", "a b", "x-y"])


@dataclass(frozen=True)
class Case:
    """How columns of a kind look."""

    columns: st.SearchStrategy[pa.Array]
    options: st.SearchStrategy[dict[str, Any]] = field(default_factory=lambda: st.just({}))
    target: bool = False  # a target alone: nobody asks with it
    back: Callable[[TensorField, list[Any]], Any] | None = (
        None  # what is promised to come back of checked values; None: nothing
    )


def column(values: st.SearchStrategy[Any], kind: pa.DataType | None = None) -> st.SearchStrategy[pa.Array]:
    return st.lists(values, **ROWS).map(lambda rows: pa.array(rows, kind))


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(values, values, st.none())


def choice(**options: list[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in options.items()})


def png(size: tuple[int, int, int], seed: int) -> bytes:
    return pixels.encode_png(np.random.default_rng(seed).integers(0, 256, size).astype(np.float64))


def sound(length: int, seed: int, rate: int) -> dict[str, Any]:
    return {"samples": np.random.default_rng(seed).normal(size=length).astype(np.float32).tolist(), "rate": rate}


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Any]:
    count = draw(st.integers(1, 5))
    node, pair = st.lists(NEAR, min_size=2, max_size=2), st.lists(st.integers(0, count - 1), min_size=2, max_size=2)
    edges = draw(st.lists(pair, max_size=6))
    weights = draw(st.none() | st.lists(st.floats(0.125, 8, width=32), min_size=len(edges), max_size=len(edges)))
    return {"nodes": draw(st.lists(node, min_size=count, max_size=count)), "edges": edges, "weights": weights}


@st.composite
def boxes(draw: st.DrawFn) -> list[dict[str, Any]]:
    corner, side = st.integers(0, 40), st.integers(1, 20)
    ends = draw(st.lists(st.tuples(NAMES, corner, corner, side, side), max_size=3))
    return [{"class": name, "x0": x, "y0": y, "x1": x + w, "y1": y + h} for name, x, y, w, h in ends]


@st.composite
def matrices(draw: st.DrawFn, *sizes: tuple[int, ...], whole: bool = True) -> pa.Array:
    size, seed, count = draw(st.sampled_from(sizes)), draw(st.integers(0, 99)), draw(st.integers(4, 8))
    drawn = np.random.default_rng(seed).integers(0, 5, (count, *size))
    return pa.FixedShapeTensorArray.from_numpy_ndarray(drawn.astype(np.uint8 if whole else np.float32))


def near(field: TensorField, rows: list[Any]) -> Any:
    if "shapes" in field.state or None in rows:
        return None
    error = 1e-5 * (field.state["std"][0] + abs(field.state["mean"][0]))
    return [[pytest.approx(row, abs=error)] for row in rows]


def named(field: TensorField, rows: list[Any]) -> Any:
    known = {str(value).lower() if isinstance(value, bool) else str(value): value for value in field.state["values"][0]}
    return [[known.get(row) if row is not None else None] for row in rows]


TIMES = st.datetimes(datetime.datetime(1, 1, 2), datetime.datetime(9999, 12, 30))
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))
FILES = st.builds(png, SIZES, st.integers(0, 99))
SOUNDS = st.builds(sound, st.integers(1, 400), st.integers(0, 99), st.sampled_from([1000, 1600]))
CASES = {
    "number": Case(
        column(maybe(FLOATS)) | column(maybe(st.integers(-(2**40), 2**40))) | column(maybe(FLOATS.map(str))),
        choice(
            scaling=["standard", "minmax", "robust", "log", "quantile"],
            outliers=["bend", "keep", "clip", "flag"],
            indicator=[True, False],
        ),
        back=near,
    ),
    "category": Case(
        column(maybe(NAMES | WORDS)) | column(maybe(st.integers(-3, 3))) | column(maybe(st.booleans())),
        choice(most=[2, 5], buckets=[0, 3]),
        back=named,
    ),
    "boolean": Case(
        column(maybe(st.booleans())) | column(maybe(st.sampled_from(["Yes", "no", "T", "f", "1", "0", "off"]))),
        back=lambda field, rows: [[value] for value in rows],
    ),
    "moment": Case(
        column(maybe(TIMES), pa.timestamp("us"))
        | column(maybe(TIMES), pa.timestamp("us", "Asia/Tokyo"))
        | column(maybe(TIMES.map(datetime.datetime.isoformat)))
        | column(maybe(st.dates(datetime.date(1, 1, 2)).map("{0.day}.{0.month}.{0.year:04}".format))),
        choice(zone=["Europe/Berlin", "America/St_Johns"], cycles=[["hour", "year"], []]),
    ),
    "text": Case(
        column(WORDS) | column(st.lists(NAMES, min_size=1, max_size=4)),
        choice(unit=["byte", "character", "bpe"], vocabulary=[300, 8000]) | st.just({"unit": "word", "length": 3}),
        back=lambda field, rows: None if field.state["unit"] == "word" else rows,
    ),
    "tokens": Case(column(WORDS)),
    "labels": Case(
        column(st.lists(NAMES, max_size=3)) | column(st.lists(NAMES, max_size=3).map("|".join)),
        back=lambda field, rows: rows,
    ),
    "seed": Case(column(st.integers(0, 2**31 - 1)), back=lambda field, rows: rows),
    "series": Case(
        column(st.lists(FLOATS, min_size=3, max_size=3)) | matrices((3, 2), whole=False),
    ),
    "image": Case(column(FILES) | matrices((4, 5), (3, 3, 3)), choice(size=[[3, 4]], channels=[1, 3])),
    "audio": Case(
        column(SOUNDS) | column(SOUNDS.map(lambda row: row["samples"])),
        choice(form=["waveform"], rate=[1000], seconds=[0.2]) | choice(mel=[8], seconds=[0.1]),
    ),
    "graph": Case(column(graphs()), choice(nodes=[3])),
    "tags": Case(column(st.lists(NAMES, min_size=1, max_size=4)), target=True, back=lambda field, rows: rows),
    "boxes": Case(column(boxes()), st.just({"size": [60, 60], "unit": "pixels"}), target=True),
    "mask": Case(
        matrices((4, 5)), target=True, back=lambda field, rows: np.reshape(rows, (len(rows), *field.shape)).tolist()
    ),
}


@cache
def tokenizer_of(folder: str) -> str:
    """A folder with a tokenizer, as Hugging Face's libraries write it."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="[UNK]"))
    made.train_from_iterator(["sea and sky"] * 3, tokenizers.trainers.BpeTrainer(special_tokens=["[UNK]"]))
    made.save(f"{folder}/tokenizer.json")
    with open(f"{folder}/config.json", "w") as file:
        file.write("{}")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tmp_path_factory.mktemp("tokenizer"))


def fitted(
    name: str, data: st.DataObject, folder: str, *, fewest: int = 2
) -> tuple[pa.Array, kinds.Kind, pa.Array, TensorField]:
    """(a raw column, the kind as it reads it, its good rows as checked, a field fitted on `fewest` of them or more)."""
    case = CASES[name]
    raw, options = data.draw(case.columns), data.draw(case.options)
    options |= {"source": tokenizer_of(folder)} if name == "tokens" else {}
    options = kinds.find(name).infer_options(raw, options)
    kind = kinds.find(name).with_options(options)
    checked, faults = kind.validate(raw)
    good = [row for row in range(len(raw)) if row not in faults and (kind.ALLOWS_MISSING or checked[row].is_valid)]
    assume(len(good) > 1)
    checked = checked.take(pa.array(good))
    learned = checked.slice(0, data.draw(st.integers(min(fewest, len(good)), len(good))))
    said = {option: [value] for option, value in options.items()} if kind.grouped else options
    try:
        found = kind.fit({"x": learned}, target=case.target, **said)
    except DataError:
        assume(False)
    return raw.take(pa.array(good)), kind, checked, found


def same(one: np.ndarray, other: np.ndarray) -> None:
    assert (one.dtype, one.shape) == (other.dtype, other.shape)
    assert np.ascontiguousarray(one).tobytes() == np.ascontiguousarray(other).tobytes()


def test_every_kind_has_columns_here():
    assert set(CASES) == set(kinds.names())


@pytest.mark.parametrize("name", CASES)
@ALIKE
@given(data=st.data())
def test_a_row_is_encoded_alike_alone_and_among_others(name, folder, data):
    _, kind, checked, field = fitted(name, data, folder)
    field = TensorField.from_json(json.loads(json.dumps(field.to_json(), allow_nan=False)))
    try:
        whole = kinds.kind_of(field).encode(field, [checked])
    except DataError:  # of a target: a class that was not learned
        assume(False)
    assert whole.dtype == field.dtype
    assert whole.shape == (len(checked), *field.shape)
    assert np.isfinite(whole).all()
    middle = data.draw(st.integers(0, len(checked)))
    parts = [kind.encode(field, [part]) for part in (checked[:middle], checked[middle:]) if len(part)]
    same(np.concatenate(parts), whole)
    if CASES[name].target:
        return
    may_lack = field.state.get("missing", [False])[0]
    for row in range(len(checked)):
        if not checked[row].is_valid and not may_lack:
            continue
        sent = json.loads(json.dumps(kind.to_json(field, 0, checked[row]), allow_nan=False))
        typed = kind.to_arrow(field, [kind.from_json(field, 0, sent)])
        same(kind.encode(field, [typed]), whole[row : row + 1])
    example = json.loads(json.dumps(kind.json_schema(field, 0)["example"], allow_nan=False))
    assert np.isfinite(kind.encode(field, [kind.to_arrow(field, [kind.from_json(field, 0, example)])])).all()


@pytest.mark.parametrize("name", CASES)
@ALIKE
@given(data=st.data())
def test_a_row_is_encoded_alike_where_texts_lie_as_a_dictionary(name, folder, data):
    _, _, checked, field = fitted(name, data, folder)
    if not pa.types.is_string(checked.type):
        return
    words = checked.dictionary_encode()
    more = pa.concat_arrays([words.dictionary, pa.array(["no row says this"])])
    coded = pa.DictionaryArray.from_arrays(words.indices, more)
    spec = FeatureSpec("any", {"x": replace(field, columns=("x",))}, field, "y", None, {})
    try:
        plain = spec.encode(pa.table({"x": checked}), target=False)["x"]
    except DataError:  # of a target: a class that was not learned
        with pytest.raises(DataError):
            spec.encode(pa.table({"x": coded}), target=False)
        return
    same(spec.encode(pa.table({"x": coded}), target=False)["x"], plain)


@pytest.mark.parametrize("name", CASES)
@ALIKE
@given(data=st.data())
def test_a_row_is_the_same_however_it_was_stored(name, folder, data):
    raw, kind, checked, _ = fitted(name, data, folder)
    again, faults = kind.validate(checked)
    assert faults == {}
    assert again.equals(checked)
    ids = row_ids.hash_rows([kind.hash_input(checked)], len(checked))
    for stored in (checked, raw):
        table = pa.table({"x": stored})
        file = BytesIO()
        pq.write_table(table, file)
        read = pq.read_table(file).column("x").combine_chunks()
        turned = kind.validate(read.take(pa.array(range(len(read) - 1, -1, -1))))[0]
        same(row_ids.hash_rows([kind.hash_input(turned)], len(turned))[::-1], ids)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.back])
@ALIKE
@given(data=st.data())
def test_what_is_promised_to_come_back_does(name, folder, data):
    _, kind, checked, field = fitted(name, data, folder, fewest=99)
    promised = CASES[name].back(field, checked.to_pylist())
    assert promised in (None, kind.decode(field, kind.encode(field, [checked])))
