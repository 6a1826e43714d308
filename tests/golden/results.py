"""What a golden run makes, as hashes and sums; and whether two runs made the same. Nothing here knows the product.

A folder has two hashes. `bytes` is of the names and the bytes of its files. These name the versions of Arrow and of
the packages that carry data, and the last digits of what is fitted to sounds follow the kernels of BLAS: `bytes` is
compared where all of BOUND is as it was. `contents` is of the same files read: the columns of Parquet, the values of
JSON in their order, numbers to ten digits, without those versions. It is compared everywhere.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shutil
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from threadpoolctl import threadpool_info

HERE = Path(__file__).parent
HASHES = HERE / "hashes.json"
PACKAGES = ("pyarrow", "scikit-learn", "statsmodels", "numpy", "torch")
BOUND = ("pyarrow", "scikit-learn", "statsmodels", "blas")  # what the bytes of raw/ and ready/ depend on
PACKAGE = re.compile(r"\b(scikit-learn|scikit-image|statsmodels|networkx|Python) \d[\w.+]*")
TOLERANCE = 3e-4  # of a tensor's sum and norm, as shares of its norm; of a score, as a share of it; see `near`


def names() -> list[str]:
    """Returns the golden pipelines."""
    return sorted(path.stem for path in (HERE / "pipelines").glob("*.yaml"))


def prepared(folder: Path) -> Path:
    """Puts the pipelines and what they read into a folder, and returns it."""
    for part in ("pipelines", "sources"):
        shutil.copytree(HERE / part, folder / part)
    return folder


def environment() -> dict[str, str]:
    """Returns the versions that results may depend on."""
    kernels = sorted({str(one.get("architecture")) for one in threadpool_info() if one["user_api"] == "blas"})
    blas = f"{platform.machine()} {' '.join(kernels)}"
    return {"python": platform.python_version(), "blas": blas, **{name: version(name) for name in PACKAGES}}


def measured(run: Any) -> dict[str, Any]:
    """Runs one pipeline through all stages and returns what it made; `run` is a `product.Run`."""
    raw, ready = folder_hashes(run.collect()), folder_hashes(run.preprocess())
    run.train()
    tensors = dict(sorted(run.weights().items()))
    found = {
        "parts": run.parts(),
        "raw": raw,
        "ready": ready,
        "batches": batches_hash(run.batches()),
        "recipe": run.recipe(),
        "scores": {name: rounded(value) for name, value in run.scores().items()},
        "weights": {name: tensor_sums(tensor) for name, tensor in tensors.items()},
        "weights_bytes": batches_hash([tensors]),
    }
    versions = run.versions()
    return {"versions": versions, **found} if versions else found


def folder_hashes(folder: Path) -> dict[str, str]:
    """Returns the hashes of the files of a folder: of their bytes, and of their contents."""
    totals = {"bytes": hashlib.blake2b(digest_size=16), "contents": hashlib.blake2b(digest_size=16)}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes() if path.suffix != ".json" else without_prose(path.read_bytes())
        held = {"bytes": data, "contents": table_bytes(path) if path.suffix == ".parquet" else json_bytes(data)}
        for form, total in totals.items():
            name = path.relative_to(folder).as_posix().encode()
            total.update(name + b"\0" + hashlib.blake2b(held[form]).digest())
    return {form: total.hexdigest() for form, total in totals.items()}


def table_bytes(path: Path) -> bytes:
    """Returns the columns of a Parquet file, in their order, with their types."""
    table = pq.read_table(path)
    return b"".join(
        f"{field.name} {field.type}\0".encode() + array_bytes(column.combine_chunks())
        for field, column in zip(table.schema, table.columns, strict=True)
    )


def array_bytes(array: pa.Array) -> bytes:
    """Returns the values of an Arrow array, whatever its buffers hold behind and between them."""
    if isinstance(array, pa.ExtensionArray):
        return array_bytes(array.storage)
    missing = array.is_null().to_numpy(zero_copy_only=False).tobytes()
    if pa.types.is_struct(array.type):
        return missing + b"".join(map(array_bytes, array.flatten()))
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type):
        counts = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
        return missing + counts.astype(np.int64).tobytes() + array_bytes(array.flatten())
    if pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        return missing + array.fill_null(0).to_numpy(zero_copy_only=False).tobytes()
    return missing + repr(array.to_pylist()).encode()


def without_prose(data: bytes) -> bytes:
    """Return a JSON file without the sentences for people that it holds: a reworded note is no other result."""
    values = json.loads(data)
    for note in ("notes", "changes"):
        if isinstance(values, dict) and note in values:
            values[note] = len(values[note])
    for leak in values.get("leaks") or () if isinstance(values, dict) else ():
        leak["text"] = ""
    return json.dumps(values, indent=1).encode()


def json_bytes(data: bytes) -> bytes:
    """Returns the values of a JSON file; the order of keys counts, versions of packages and last digits do not."""
    values = json.loads(data, parse_float=lambda text: rounded(float(text)))
    return PACKAGE.sub(r"\1", json.dumps(values)).encode()


def batches_hash(batches: Iterable[Mapping[str, Any]]) -> str:
    """Returns the hash of batches in order: names, types, shapes and bytes of their arrays."""
    total = hashlib.blake2b(digest_size=16)
    for batch in batches:
        for name, values in sorted(batch.items()):
            array = np.ascontiguousarray(values)
            total.update(f"{name} {array.dtype} {array.shape}\0".encode() + array.tobytes())
    return total.hexdigest()


def tensor_sums(tensor: np.ndarray) -> list[float]:
    """Returns the count of a tensor's values, their sum and their norm."""
    values = tensor.astype(np.float64).ravel()
    return [values.size, rounded(values.sum()), rounded(np.sqrt(values @ values))]


def rounded(value: float) -> float:
    """Returns the value to ten digits."""
    return float(f"{value:.10g}")


def near(one: float, other: float, scale: float) -> bool:
    """Tells whether two values are equal up to TOLERANCE of the scale; other kernels of torch and BLAS reach 1e-4."""
    return one == other or (one != one and other != other) or abs(one - other) <= TOLERANCE * scale + 1e-9


def differences(
    expected: Mapping[str, Any], found: Mapping[str, Any], *, same_bytes: bool, exact: bool = False
) -> dict[str, str]:
    """Return by result what differs, in words.

    `same_bytes` compares bytes of folders, too, and `exact` those of weights, which only the same machine makes again.
    """
    told = {}
    for name in ("raw", "ready"):
        forms = ("contents", "bytes") if same_bytes else ("contents",)
        if wrong := [form for form in forms if expected[name][form] != found[name][form]]:
            told[name] = f"other {' and '.join(wrong)}"
    whole = ("parts", "batches", *(["weights_bytes"] if exact else []))
    told |= {name: "others" for name in whole if expected[name] != found[name]}
    mine, theirs = expected["recipe"], found["recipe"]
    if wrong := [f"{key}: {mine[key]} became {theirs.get(key)}" for key in mine if mine[key] != theirs.get(key)]:
        told["recipe"] = ", ".join(wrong)  # what is new in a recipe changes nothing by itself
    for name, close in (("weights", _near_tensor), ("scores", _near_score)):
        mine, theirs = expected[name], found[name]
        keys = sorted(set(mine) | set(theirs))
        if wrong := [key for key in keys if key not in mine or key not in theirs or not close(mine[key], theirs[key])]:
            first = wrong[0]
            told[name] = f"{len(wrong)} of {len(keys)}, {first}: {mine.get(first)} became {theirs.get(first)}"
    return told


def _near_tensor(one: list[float], other: list[float]) -> bool:
    norm, count = max(one[2], other[2]), max(one[0], other[0])
    return one[0] == other[0] and near(one[1], other[1], norm * count**0.5) and near(one[2], other[2], norm)


def _near_score(one: float, other: float) -> bool:
    return near(one, other, max(abs(one), abs(other)))


def read() -> dict[str, Any]:
    """Returns what is written of earlier runs: the environment, and the results by pipeline."""
    return json.loads(HASHES.read_text()) if HASHES.is_file() else {"environment": {}, "pipelines": {}}


def write(values: Mapping[str, Any]) -> None:
    """Writes hashes.json, lists in one line each."""
    text = json.dumps(values, indent=1, ensure_ascii=False)
    text = re.sub(r"\[([^\[\]{}]*)\]", lambda found: "[" + " ".join(found[1].split()) + "]", text)
    HASHES.write_text(text + "\n")


def bound(values: Mapping[str, Any]) -> bool:
    """Tells whether bytes of folders can be those that were written: all of BOUND is the same."""
    now = environment()
    return all(values["environment"].get(name) == now[name] for name in BOUND)
