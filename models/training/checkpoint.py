"""Write and read checkpoints of an unfinished run: one file each, in safetensors' layout, without pickle.

A file is 8 bytes of header length (little-endian), a JSON header (name → dtype, shape, byte range; and `__metadata__`
with the run's state as JSON and a checksum), then the tensors' bytes. The safetensors library can read it.
"""

import ctypes
import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evergreen.core.files import atomic_write

KEPT = 2  # the newest, and one more for when the newest turns out to be damaged
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
log = logging.getLogger(__name__)


class CorruptCheckpointError(Exception):
    """Say that bytes are not a complete checkpoint."""


def encode(tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> bytes:
    """Encode tensors and a JSON-able state as bytes."""
    table: dict[str, Any] = {}
    parts: list[bytes] = []
    end = 0
    for name, tensor in tensors.items():
        flat = tensor.detach().cpu().contiguous()
        begin, end = end, end + flat.nbytes
        table[name] = {"dtype": NAMES[flat.dtype], "shape": list(flat.shape), "data_offsets": [begin, end]}
        parts.append(ctypes.string_at(flat.data_ptr(), flat.nbytes) if flat.nbytes else b"")
    data = b"".join(parts)
    text = json.dumps(state)
    header = json.dumps({"__metadata__": {"state": text, "checksum": _checksum(table, text, data)}, **table})
    head = header.encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head + data


def decode(block: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Decode what `encode` returned. Raises CorruptCheckpointError unless every byte is as it was written."""
    length = int.from_bytes(block[:8], "little")
    data = memoryview(block)[8 + length :]
    try:
        table = json.loads(block[8 : 8 + length])
        own = table.pop("__metadata__")
        is_intact = own["checksum"] == _checksum(table, own["state"], data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptCheckpointError("the header cannot be read") from error
    if not is_intact:
        raise CorruptCheckpointError("the checksum does not fit")
    return {name: _tensor(data, entry) for name, entry in table.items()}, json.loads(own["state"])


def _tensor(data: memoryview, entry: Mapping[str, Any]) -> Tensor:
    begin, end = entry["data_offsets"]
    if begin == end:
        return torch.empty(entry["shape"], dtype=DTYPES[entry["dtype"]])
    return torch.frombuffer(bytearray(data[begin:end]), dtype=DTYPES[entry["dtype"]]).reshape(entry["shape"])


def _checksum(table: Mapping[str, Any], state: str, data: bytes | memoryview) -> str:
    digest = hashlib.blake2b(json.dumps([table, state], sort_keys=True).encode(), digest_size=16)
    digest.update(data)
    return digest.hexdigest()


def save(folder: Path, step: int, block: bytes) -> None:
    """Write the checkpoint of a step atomically, then removes all but the newest two."""
    with atomic_write(folder / f"step-{step:012d}.safetensors") as temporary:
        temporary.write_bytes(block)
    for old in _files(folder)[KEPT:]:
        old.unlink(missing_ok=True)


def newest(folder: Path) -> bytes | None:
    """Return the newest complete checkpoint in the folder; damaged ones are skipped with a warning."""
    for file in _files(folder):
        block = file.read_bytes()
        try:
            decode(block)
        except CorruptCheckpointError as error:
            log.warning("%s is skipped: %s", file, error)
        else:
            return block
    return None


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.safetensors"), reverse=True)
