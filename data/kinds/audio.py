"""Sound: samples become log-mel spectra (T, M), standardized by band, or stay a waveform (T, 1).

Zeros follow a row's end. A row is a struct of `samples` and their `rate`, or a bare list of samples at the rate that
the option names. Loudness does not count: each row is brought to the same power. A request sends a list of samples, a
struct, or a sound file as base64.
"""

import base64
import binascii
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core import marks
from evergreen.core.errors import DataError
from evergreen.core.marks import Mark
from evergreen.core.png import png
from evergreen.data.arrow import RowErrors, decode_array, list_depth, to_numpy
from evergreen.data.decode_limits import spend
from evergreen.data.field import TensorField
from evergreen.data.kinds import Kind
from evergreen.data.kinds._json import format_value
from evergreen.data.kinds.duplicates.audio_duplicates import find_duplicate_sounds, sound_features
from evergreen.data.kinds.duplicates.near_duplicates import NearDuplicate
from evergreen.data.kinds.sound import mel as spectra
from evergreen.data.kinds.sound import wav
from evergreen.data.kinds.sound.sound_file import decode_sound

TYPE = pa.struct([("samples", pa.list_(pa.float32())), ("rate", pa.int32())])  # rate 0: that of the option
LONG = 1000  # samples of a row from which on a list of numbers within −1…1 is taken for sound
UNSAID = 8000  # samples a second where neither the rows nor the pipeline say
FORMS = {"mel": 10, "waveform": 1}  # seconds that are read of the longest row, unless the pipeline sets `seconds`
SILENT = 1e-15  # root of the mean power below which a row stays as faint as it is
EXAMPLE = 0.02  # seconds of the documentation's example
SHOWN = 400  # points of a drawn waveform
FIX = "give a list of samples, {samples, rate}, or a WAV, FLAC, OGG or MP3 file as base64"


class Audio(Kind):
    TELLS_ROWS_APART = True
    HAS_LENGTH = True
    OPTIONS: ClassVar[dict[str, Any]] = {
        "form": "mel",  # or waveform: the samples themselves
        "rate": 0,  # samples a second that rows are brought to; 0: the commonest of the training rows
        "mel": 40,  # bands of a spectrum
        "seconds": 0.0,  # heard, the rest is cut off; 0: the longest of the training rows, at most 10, of a waveform 1
        "step": 0.01,  # seconds from one spectrum to the next
    }

    def detect(self, column: pa.Array) -> float:
        column = decode_array(column)
        if pa.types.is_struct(column.type):
            names = {field.name for field in column.type}
            return 1.0 if {"samples", "rate"} <= names and list_depth(column.type.field("samples").type) == 1 else 0.0
        if list_depth(column.type) != 1 or isinstance(column.type, pa.FixedShapeTensorType):
            return 0.0
        sounds = column.drop_null()
        if not len(sounds) or pc.approximate_median(pc.list_value_length(sounds)).as_py() < LONG:
            return 0.0
        values = to_numpy(sounds.flatten())
        return 0.95 if values.dtype.kind == "f" and np.abs(values).max(initial=0) <= 1 else 0.0

    def validate(self, column: pa.Array) -> tuple[pa.Array, RowErrors]:
        column = decode_array(column)
        if column.type == TYPE:
            samples, rates = column.field("samples"), column.field("rate").fill_null(0)
        elif pa.types.is_struct(column.type):
            samples, rates = column.field("samples"), column.field("rate").cast(pa.int32()).fill_null(0)
        else:
            samples, rates = column, pa.array(np.zeros(len(column), np.int32))
        if list_depth(samples.type) != 1:
            return pa.nulls(len(column), TYPE), dict.fromkeys(range(len(column)), "not a list of samples")
        samples = samples.cast(pa.list_(pa.float32()), safe=False)
        rows = [_row(samples, index) if column[index].is_valid else None for index in range(len(column))]
        faults = {index: _fault(row) for index, row in enumerate(rows) if _fault(row)}
        blank = pa.array([row is None or index in faults for index, row in enumerate(rows)])
        made = pa.StructArray.from_arrays([samples, rates], fields=list(TYPE), mask=blank)
        return made, faults

    def fit(self, columns: Mapping[str, pa.Array], *, target: bool = False, **options: Any) -> TensorField:
        ((name, column),) = columns.items()
        place = f"preprocess.kinds.{name}"
        if target:
            raise DataError("sound cannot be a target", place=place, fix="choose another target")
        wishes = {**self.OPTIONS, **options}
        for option, least in (("rate", 0), ("mel", 4), ("seconds", 0), ("step", 0.001)):
            if not isinstance(wishes[option], int | float) or wishes[option] < least:
                fix = f"use a number of {least} or more"
                raise DataError(f"{option} is not valid (got {wishes[option]!r})", place=place, fix=fix)
        if wishes["form"] not in FORMS:
            raise DataError(f"{wishes['form']!r} is not a valid form", place=place, fix=f"use {' or '.join(FORMS)}")
        rates = Counter(rate for rate in column.field("rate").to_pylist() if rate)
        rate = int(wishes["rate"] or (rates.most_common(1)[0][0] if rates else UNSAID))
        state: dict[str, Any] = {"rate": rate, "mel": int(wishes["mel"]), "step": float(wishes["step"])}
        if wishes["form"] == "waveform":
            state |= {"form": "waveform", "mel": 1, "step": 1 / rate}
        steps_of = [_steps(samples, state) for samples in _sounds(column, rate)]
        longest = min(max(len(one) for one in steps_of), round(FORMS[wishes["form"]] / state["step"]))
        length = round(wishes["seconds"] / state["step"]) or longest
        all_steps = np.concatenate([one[:length] for one in steps_of])
        std = all_steps.std(axis=0)
        state |= {"mean": all_steps.mean(axis=0).tolist(), "std": np.where(std > 0, std, 1.0).tolist()}
        return TensorField("audio", (name,), (max(1, length), state["mel"]), "float32", state)

    def encode(self, field: TensorField, columns: Sequence[pa.Array]) -> np.ndarray:
        mean, std = (np.asarray(field.state[name]) for name in ("mean", "std"))
        values = np.zeros((len(columns[0]), *field.shape), np.float32)
        for row, samples in enumerate(_sounds(columns[0], field.state["rate"], field.shape[0] * field.state["step"])):
            steps = _steps(samples, field.state)[: field.shape[0]]
            values[row, : len(steps)] = (steps - mean) / std
        return values

    def decode(self, field: TensorField, values: np.ndarray) -> list[Any]:
        """Return the spectra, or the waveform: the loudness of the samples is lost."""
        mean, std = (np.asarray(field.state[name]) for name in ("mean", "std"))
        lists: list[Any] = (values * std + mean).tolist()
        return lists

    def from_json(self, field: TensorField, index: int, value: Any) -> Any:
        rate = 0
        if isinstance(value, str):
            try:
                file = base64.b64decode(value.encode("ascii"), validate=True)
            except (binascii.Error, UnicodeEncodeError) as error:
                raise DataError("is not base64", fix=FIX) from error
            value, rate = decode_sound(file)
        elif isinstance(value, dict):
            if set(value) != {"samples", "rate"} or type(value["rate"]) is not int or not 0 < value["rate"] < 2**31:
                raise DataError("is an object without `samples` and a whole `rate`", fix=FIX)
            value, rate = value["samples"], value["rate"]
        if isinstance(value, list):
            value = _numbers(value)
        if not isinstance(value, np.ndarray):
            raise DataError(f"is not a sound (got {format_value(value)})", fix=FIX)
        return {"samples": value, "rate": rate}

    def to_arrow(self, field: TensorField, values: list[Any]) -> pa.Array:
        samples = pa.array([value["samples"] for value in values], pa.list_(pa.float32()))
        rates = pa.array([value["rate"] for value in values], pa.int32())
        return pa.StructArray.from_arrays([samples, rates], fields=list(TYPE))

    def to_json(self, field: TensorField, index: int, value: pa.Scalar) -> Any:
        plain_value = value.as_py()
        return plain_value if plain_value["rate"] else plain_value["samples"]

    def json_schema(self, field: TensorField, index: int) -> dict[str, Any]:
        rate = field.state["rate"]
        tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(EXAMPLE * rate)) / rate)
        forms: list[dict[str, Any]] = [
            {"type": "string", "format": "byte", "description": "a WAV, FLAC, OGG or MP3 file as base64"},
            {"type": "array", "items": {"type": "number"}, "description": f"samples, {rate} a second"},
            {"type": "object", "description": "`samples`, and their `rate` a second"},
        ]
        return {"oneOf": forms, "example": base64.b64encode(wav.encode_wav(tone, rate)).decode()}

    def find_near_duplicates(self, column: pa.Array, other: pa.Array) -> list[NearDuplicate]:
        return find_duplicate_sounds(column, other)

    def row_features(self, column: pa.Array) -> np.ndarray:
        return sound_features(column)

    def hash_input(self, column: pa.Array) -> list[bytes]:
        rates = column.field("rate").to_pylist()
        rows = (_row(column.field("samples"), index) for index in range(len(column)))
        return [
            b"" if row is None else np.ascontiguousarray(row, "<f4").tobytes() + str(rate).encode()
            for row, rate in zip(rows, rates, strict=True)
        ]

    MEASURE = "seconds"

    def measure(self, column: pa.Array) -> np.ndarray:
        rates = [rate or 1 for rate in column.field("rate").to_pylist()]
        lengths = pc.list_value_length(column.field("samples")).fill_null(0).to_pylist()
        return np.array([length / rate for length, rate in zip(lengths, rates, strict=True)], np.float64)

    def show(self, field: TensorField, columns: Sequence[pa.Array]) -> Sequence[Mark]:
        """Draw spectra as images, about square, low tones at the bottom; waveforms as lines."""
        values = self.encode(field, columns)  # (N, T, M)
        if field.shape[1] == 1:
            return [marks.Sparkline(row[:: 1 + len(row) // SHOWN, 0].tolist()) for row in values]
        thickness = max(1, round(field.shape[0] / field.shape[1]))
        tones = values.transpose(0, 2, 1)[:, None, ::-1].repeat(thickness, axis=2)
        title = f"{field.columns[0]}: which tones, from low to high, at which time"
        return [marks.Image(png(row), title) for row in tones]

    def augment(self, field: TensorField, values: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Silence an interval of time and, of spectra, a band of tones of each row (SpecAugment, Park et al. 2019)."""
        count, steps, bands = values.shape
        places = (np.arange(steps)[None, :, None], np.arange(bands)[None, None, :])
        hidden = np.zeros((count, 1, 1), bool)
        for axis, (length, share) in enumerate(((steps, 8), (bands, 5))[: 1 if bands == 1 else 2]):
            wide = random.integers(0, max(1, length // share) + 1, size=(count, 1, 1))
            first = random.integers(0, length, size=(count, 1, 1))
            hidden = hidden | ((places[axis] >= first) & (places[axis] < first + wide))
        return np.where(hidden, np.float32(0), values)


def _steps(samples: np.ndarray, state: Mapping[str, Any]) -> np.ndarray:
    """Return (T, M) of one row, whatever its loudness."""
    if state.get("form") == "waveform":
        power = float(np.mean(np.square(samples, dtype=np.float64)))
        return np.asarray(samples / max(power**0.5, SILENT), np.float32)[:, None]
    return spectra.log_mel(samples, state)


def _row(samples: pa.Array, index: int) -> np.ndarray | None:
    """Return the samples of one row without a copy."""
    return to_numpy(samples[index].values) if samples[index].is_valid else None


def _fault(row: np.ndarray | None) -> str:
    if row is None:
        return ""
    if not len(row):
        return "holds 0 samples"
    return "" if np.isfinite(row).all() else "holds NaN or Infinity"


def _sounds(column: pa.Array, rate: int, seconds: float = 0.0) -> list[np.ndarray]:
    """Return each row's samples at `rate`, of at most `seconds` (and what a last window needs) where that is not 0."""
    samples, rates = column.field("samples"), column.field("rate").to_pylist()
    sounds = []
    for index, own in enumerate(rates):
        row = _row(samples, index)
        assert row is not None, "rows without sound were quarantined"
        most = round((seconds + 1) * (own or rate)) if seconds else len(row)
        sounds.append(spectra.resample(row[:most], own or rate, rate))
    return sounds


def _numbers(value: list[Any]) -> np.ndarray:
    spend("samples", len(value))
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise DataError("is ragged: samples are plain numbers", fix=FIX) from error
    if not value:
        raise DataError("holds 0 samples", fix=FIX)
    if array.ndim != 1 or array.dtype.kind not in "iuf" or any(isinstance(item, bool) for item in value):
        raise DataError("holds something that is not a number", fix=FIX)
    if not np.isfinite(array).all() or np.abs(array).max() > 1e9:
        raise DataError("holds NaN, Infinity or a sample beyond 1e9", fix=FIX)
    return array.astype(np.float32)
