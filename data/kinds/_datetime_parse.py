"""Parse times that are written as text into microseconds since 1970 in UTC.

A format is `iso`, `iso+zone`, or what strptime takes: "%d.%m.%Y %H:%M". Names of months are those of MONTHS. Where two
formats fit equally well, none is chosen.
"""

import contextlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import DataError
from evergreen.data.arrow import RowErrors, evenly_spaced_indices, known_texts, to_float64, to_numpy
from evergreen.data.datetime_format import COMMON as COMMON
from evergreen.data.datetime_format import DATED, LIKE_DATES, ZONED, format_skeleton, months, skeleton, to_pattern
from evergreen.data.datetime_format import EITHER as EITHER
from evergreen.data.datetime_format import ISO as ISO

TYPE = pa.timestamp("us", "UTC")
UNITS = {"d": 86_400e6, "s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}  # microseconds
LOW, HIGH = (int(np.datetime64(day, "us").astype(np.int64)) for day in ("0001-01-01", "9999-12-31T23:59:59.999999"))
BEYOND = "beyond the years 1 to 9999"
LOOKED_AT = 1000  # values, to find out the format
FEW = 50  # of them, that most forms are ruled out by
SURE = 0.95  # share of them that must be times for the column to be one of times


def parse_datetimes(column: pa.Array, format: str = "", unit: str = "", zone: str = "") -> tuple[pa.Array, RowErrors]:
    """Return a column as TYPE, and row → error; `unit` is that of numbers, `zone` of times that name none."""
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        values, faults = _typed(column)
        return values if not zone or getattr(column.type, "tz", None) else localize(values, zone), faults
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), TYPE), {}
    if unit:
        return _counted(column, unit)
    if pa.types.is_string(column.type):
        format = format or detect_format(column) or ISO
        return _parse_texts(column, EITHER if zone and format == ISO else format, zone)
    valid = to_numpy(column.is_valid())
    reason = f"a {column.type} is not a time; set `unit` if it counts since 1970"
    return pa.nulls(len(column), TYPE), {int(row): reason for row in np.flatnonzero(valid)}


def detect_format(column: pa.Array) -> str:
    """Return the format of a column of text; "" where few values match any format, or two match equally well."""
    fitting = matching_formats(column)
    return fitting[0] if len(fitting) == 1 else ""


def matching_formats(column: pa.Array, share: float = SURE) -> list[str]:
    """Return the COMMON formats that match at least `share` of a text column's values, and no others match more."""
    texts = known_texts(column).drop_null()
    texts = texts.take(pa.array(np.linspace(0, len(texts) - 1, min(len(texts), LOOKED_AT)).astype(int)))
    dated = pc.sum(pc.match_substring_regex(texts, DATED)).as_py() or 0
    if not dated or dated < share * len(texts):
        return []
    for format in (ISO, ZONED):  # what is written so is in no other format
        if not _parse_texts(texts, format)[1]:
            return [format]
    shapes = {skeleton(text) for text in texts.to_pylist()} | {""}
    formats = [format for format in COMMON if format_skeleton(format) in shapes]
    # most forms fit none of a few texts: the others are counted
    few = texts.take(pa.array(evenly_spaced_indices(len(texts), FEW)))
    likely = [format for format in formats if len(_parse_texts(few, format)[1]) < len(few)]
    if not likely and share:
        return []
    counts = {format: len(texts) - len(_parse_texts(texts, format)[1]) for format in likely or formats}
    best = max(counts.values())
    return _fewest_years(texts, [name for name, count in counts.items() if count == best >= max(1, share * len(texts))])


def _fewest_years(texts: pa.Array, formats: list[str]) -> list[str]:
    """Return the formats by which the texts reach over the fewest years: what differs most is the day."""
    if len(formats) < 2 or not any("%y" in format for format in formats):
        return formats
    years = {format: pc.count_distinct(pc.year(_parse_texts(texts, format)[0])).as_py() for format in formats}
    return [format for format in formats if years[format] == min(years.values())]


def describe_doubt(column: pa.Array) -> str:
    """Return why a column of texts that look like dates is not read as such, with two of them; "" of others."""
    formats, texts = matching_formats(column), pc.unique(known_texts(column).drop_null())
    like_dates = pc.sum(pc.match_substring_regex(texts, LIKE_DATES)).as_py() or 0
    if len(formats) < 2 and (formats or not len(texts) or like_dates < SURE * len(texts)):
        return ""
    shown = " and ".join(f"'{text}'" for text in texts.to_pylist()[:2])
    may_be = f"may be {' or '.join(formats)}" if formats else "are written in no known format"
    format = f'"{formats[0]}"' if formats else "as strptime has it"
    return f"its dates, such as {shown}, {may_be}; to read them, set {{kind: moment, format: {format}}}"


def localize(column: pa.Array, zone: str) -> pa.Array:
    """Return UTC times as those of a zone; of an hour that comes twice the first is taken."""
    naive = column.cast(pa.timestamp("us"))
    try:
        return pc.assume_timezone(naive, zone, ambiguous="earliest", nonexistent="earliest").cast(TYPE)
    except pa.ArrowInvalid as error:
        fix = 'use a name such as "Europe/Berlin"'
        raise DataError(f"'{zone}' is not a time zone", place="preprocess.kinds", fix=fix) from error


def _typed(column: pa.Array) -> tuple[pa.Array, RowErrors]:
    kind = column.type
    unit = "d" if pa.types.is_date32(kind) else "ms" if pa.types.is_date64(kind) else kind.unit
    counts = to_numpy(column.cast(pa.int32() if unit == "d" else pa.int64()).fill_null(0))
    scale = UNITS[unit]
    is_known = to_numpy(column.is_valid())
    beyond = (counts < LOW / scale) | (counts > HIGH / scale)
    counts = np.where(beyond, 0, counts).astype(np.int64)
    values = counts * int(scale) if scale >= 1 else counts // round(1 / scale)
    return _timestamps(values, ~is_known | beyond), dict.fromkeys(np.flatnonzero(beyond & is_known).tolist(), BEYOND)


def _counted(column: pa.Array, unit: str) -> tuple[pa.Array, RowErrors]:
    if unit not in UNITS:
        place, fix = "preprocess.kinds", f"choose {', '.join(UNITS)}"
        raise DataError(f"'{unit}' is not a unit of time", place=place, fix=fix)
    values, faults = to_float64(column)
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.round(values * UNITS[unit])
        beyond = (values < LOW) | (values > HIGH)
    faults = {**faults, **dict.fromkeys(np.flatnonzero(beyond).tolist(), BEYOND)}
    blank = np.isnan(values) | beyond
    return _timestamps(np.where(blank, 0, values).astype(np.int64), blank), faults


def _parse_texts(column: pa.Array, format: str, zone: str = "") -> tuple[pa.Array, RowErrors]:
    text = known_texts(column)
    if format in (ISO, ZONED) and not zone:
        with contextlib.suppress(pa.ArrowInvalid):  # most often all is well, and this is fast
            fast = text.cast(TYPE if format == ZONED else pa.timestamp("us")).cast(TYPE)
            if (pc.min(fast.cast(pa.int64())).as_py() or 0) >= LOW:
                return fast, {}
    parts = pc.extract_regex(text, to_pattern(format))
    if parts.null_count == len(parts):  # as most forms that are tried
        return pa.nulls(len(text), TYPE), _faulty(to_numpy(text.is_valid()), format)
    fields = {part.name: pc.struct_field(parts, part.name) for part in parts.type}
    made, wrong = _put_together(fields, len(text))
    is_complete = to_numpy(parts.is_valid()) & ~wrong
    values = _timestamps(made, ~is_complete)
    if zone:
        local = localize(values, zone)
        values = pc.if_else(pc.equal(fields["z"], ""), local, values) if "z" in fields else local
    return values, _faulty(to_numpy(text.is_valid()) & ~is_complete, format)


def _faulty(rows: np.ndarray, format: str) -> RowErrors:
    return dict.fromkeys(np.flatnonzero(rows).tolist(), f"not a time written as {format}")


def _put_together(fields: dict[str, pa.Array], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ((N,) int64 microseconds, (N,) bool: is no time of any calendar) of the parts that a pattern matched."""
    year = _number(fields, "Y", 0, count) if "Y" in fields else _century(_number(fields, "y", 70, count))
    month = _named(fields["b"]) if "b" in fields else _number(fields, "m", 1, count)
    day, hour = _number(fields, "d", 1, count), _number(fields, "H", 0, count)
    minute, second = _number(fields, "M", 0, count), _number(fields, "S", 0.0, count)
    wrong = (year < 1) | (month < 1) | (month > 12) | (day < 1) | (hour > 23) | (minute > 59) | (second >= 60)
    if "p" in fields:
        twelve = _number(fields, "I", 12, count)
        late = to_numpy(pc.starts_with(pc.utf8_lower(fields["p"]), "p").fill_null(False))
        wrong |= (twelve < 1) | (twelve > 12)
        hour = twelve % 12 + 12 * late
    months = np.where(wrong, 0, (year - 1970) * 12 + month - 1).astype("datetime64[M]")
    wrong |= day > ((months + 1).astype("datetime64[D]") - months.astype("datetime64[D]")).astype(np.int64)
    days = months.astype("datetime64[D]").astype(np.int64) + day - 1
    offset = _offset(fields["z"]) if "z" in fields else 0
    clock = (hour * 60 + minute - offset) * 60_000_000 + np.floor(second * 1e6 + 1e-3).astype(np.int64)
    values = days * 86_400_000_000 + clock
    return values, wrong | (values < LOW) | (values > HIGH)


def _number(fields: dict[str, pa.Array], name: str, default: float, count: int) -> np.ndarray:
    kind = np.float64 if isinstance(default, float) else np.int64
    if name not in fields:
        return np.full(count, default, kind)
    words = pc.if_else(pc.equal(fields[name], ""), pa.scalar(None, pa.string()), fields[name])
    return to_numpy(words.cast(pa.from_numpy_dtype(kind)).fill_null(default))


def _named(words: pa.Array) -> np.ndarray:
    known, numbers = months()
    return np.asarray(numbers[to_numpy(pc.index_in(pc.utf8_lower(words), known).fill_null(-1))])


def _century(years: np.ndarray) -> np.ndarray:
    """Complete two-digit years as POSIX does: 69 is 1969, 68 is 2068."""
    return years + np.where(years < 69, 2000, 1900)


def _offset(words: pa.Array) -> np.ndarray:
    """Return minutes east of Greenwich."""
    digits = pc.extract_regex(words, r"^(?P<s>[+-])(?P<h>\d{2}):?(?P<m>\d{2})?$")
    fields = {name: pc.struct_field(digits, name) for name in "shm"}
    minutes = _number(fields, "h", 0, len(words)) * 60 + _number(fields, "m", 0, len(words))
    west = to_numpy(pc.equal(fields["s"], "-").fill_null(False))
    return np.asarray(np.where(west, -minutes, minutes))


def _timestamps(values: np.ndarray, blank: np.ndarray) -> pa.Array:
    return pa.array(values, pa.int64(), mask=blank).cast(TYPE)
