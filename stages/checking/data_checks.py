"""Check a kind on a column, or a source on what it reads. A check raises AssertionError with what is wrong."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError
from evergreen.data.field import TensorField
from evergreen.data.kinds import Kind
from evergreen.data.sources import RESERVED, Source, open_source

COLUMNS = (  # a kind is checked on the first that it accepts
    pa.array([1.5, -2.0, 3.25, 0.0] * 3),
    pa.array(["red", "green", "blue", "green"] * 3),
    pa.array(["2024-01-31", "2024-02-29", "2024-03-01", "2024-12-24"] * 3),
    pa.array([True, False, True, True] * 3),
    pa.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]] * 6),
    pa.array([["sea", "sky"], ["sky"], [], ["sea"]] * 3),
    pa.array([{"nodes": [[0.0], [1.0]], "edges": [[0, 1]]}, {"nodes": [[1.0]], "edges": []}] * 6),
    pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(768, dtype=np.uint8).reshape(12, 8, 8)),
)


def find_column(kind: Kind) -> pa.Array:
    """Return the first sample column that the kind takes. Raises DataError where it takes none."""
    for column in COLUMNS:
        try:
            if not kind.validate(column)[1]:
                return column
        except (DataError, TypeError, ValueError, AttributeError, NotImplementedError):
            continue
    raise DataError(
        "the kind accepts none of the sample columns", fix="give a column that it accepts: --on FILE#COLUMN"
    )


def check_detection(kind: Kind) -> None:
    """Check that any column gets a degree of suitability."""
    for column in COLUMNS:
        degree = kind.detect(column)
        assert 0 <= degree <= 1, f"detect says {degree} of a column of {column.type}"


def check_encoding(kind: Kind, column: pa.Array) -> None:
    """Check that a column is fitted, encoded, varied and decoded, and that what is fitted is JSON."""
    checked, field, encoded = _encode(kind, column)
    assert TensorField.from_json(json.loads(json.dumps(field.to_json()))) == field, (
        "its state changes on its way through JSON"
    )
    wanted = (len(column), *field.shape)
    assert encoded.shape == wanted, f"encode gives {encoded.shape}, the field says {wanted}"
    assert encoded.dtype == field.dtype, f"encode gives {encoded.dtype}, the field says {field.dtype}"
    parts = np.concatenate([kind.encode(field, [checked.slice(0, 5)]), kind.encode(field, [checked.slice(5)])])
    assert np.array_equal(parts, encoded), "a row is encoded differently when it is read with other rows"
    for place, what, mask in kind.find_unusual(field, [checked], encoded):
        assert (place, bool(what)) == (0, True), "find_unusual names no column of the field, or says nothing"
        assert (mask.shape, mask.dtype) == ((len(column),), bool), "find_unusual gives no truth value for each row"
    if kind.ALLOWS_MISSING or kind.FILLS_MISSING:
        blank = kind.encode(field, [pa.nulls(2, checked.type)])
        assert np.isfinite(blank).all(), "a missing value is encoded as NaN where training rows had none"
    varied = kind.augment(field, encoded, np.random.default_rng(0))
    assert (varied.shape, varied.dtype) == (encoded.shape, encoded.dtype), "augment changes the shape or the type"
    decoded = json.loads(json.dumps(kind.decode(field, encoded)))
    assert len(decoded) == len(column), f"decode gives {len(decoded)} values of {len(column)} rows"


def check_requests(kind: Kind, column: pa.Array) -> None:
    """Check that a value in a request is encoded as it is in a column."""
    checked, field, encoded = _encode(kind, column)
    value = json.loads(json.dumps(kind.to_json(field, 0, checked[0])))
    typed = kind.to_arrow(field, [kind.from_json(field, 0, value)])
    assert np.array_equal(kind.encode(field, [typed]), encoded[:1]), f"the request {value!r} is encoded differently"
    schema = json.loads(json.dumps(kind.json_schema(field, 0)))
    assert schema.get("example") is not None, "its JSON schema has no example"


def check_identity(kind: Kind, column: pa.Array) -> None:
    """Check that equal values have equal hashes and different ones do not, whatever the other rows are."""
    checked, _ = kind.validate(column)
    hashes, first = (list(map(str, kind.hash_input(part))) for part in (checked, checked.slice(0, 4)))
    assert len(hashes) == len(column), f"hash_input gives {len(hashes)} values of {len(column)} rows"
    assert hashes[:4] == first, "a row has another hash when it is read with other rows"
    assert len(set(hashes)) == len({str(value) for value in checked.to_pylist()}), "different values have the same hash"


def _encode(kind: Kind, column: pa.Array) -> tuple[pa.Array, TensorField, np.ndarray]:
    checked, faults = kind.validate(column)
    assert not faults, f"it finds errors: {faults}"
    field = kind.fit({"x": checked})
    return checked, field, kind.encode(field, [checked])


def check_methods(source: type[Source]) -> None:
    """Check that a source says how it is read and when it changed."""
    assert issubclass(source, Source), "Source is not derived from evergreen.data.sources.Source"
    for method in ("read", "fingerprint"):
        assert getattr(source, method) is not getattr(Source, method), f"it lacks {method}"


def check_reading(uri: str, root: Path) -> None:
    """Check that a source yields rows of one schema that say where they came from, the same ones each time."""
    source = open_source(uri, root)
    batches = list(source.read())
    assert sum(map(len, batches)), "it yields no rows"
    schema = batches[0].schema
    assert all(batch.schema == schema for batch in batches), "its batches have several schemas"
    assert "_origin" in schema.names, "its rows do not say where they came from: the column _origin is missing"
    unknown = [name for name in schema.names if name in RESERVED and name not in ("_origin", "_fault")]
    assert not unknown, f"the column name {', '.join(unknown)} is taken"
    origins = [origin for batch in batches for origin in batch.column("_origin").to_pylist()]
    assert len(set(origins)) == len(origins), "two rows have the same _origin"
    again = open_source(uri, root)
    assert again.fingerprint() == source.fingerprint(), "its fingerprint changes although the data did not"
    assert pa.Table.from_batches(list(again.read())).equals(pa.Table.from_batches(batches)), (
        "a second reading gives other rows"
    )
