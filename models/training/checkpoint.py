"""Write and read checkpoints of an unfinished run: one file each, in safetensors' layout, without pickle.

Where each process holds a share of the weights it is a folder instead (sharded_checkpoint.py).

A file is 8 bytes of header length (little-endian), a JSON header (name → dtype, shape, byte range; and `__metadata__`
with the run's state as JSON and a checksum), then the tensors' bytes. The safetensors library can read it.
"""

import ctypes
import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evergreen.core.files import atomic_write
from evergreen.models.training import sharded_checkpoint
from evergreen.models.training.sharded_checkpoint import CorruptCheckpointError

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


def encode(tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> bytes:
    """Encode tensors and a JSON-able state as bytes."""
    return b"".join(_pieces(tensors, state))


def _pieces(tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> list[bytes | memoryview]:
    """Return the bytes of a checkpoint in pieces: its head, and those of each tensor where they lie in memory."""
    table: dict[str, Any] = {}
    pieces: list[memoryview] = []
    end = 0
    for name, tensor in tensors.items():
        flat = tensor.detach().cpu().contiguous()
        begin, end = end, end + flat.nbytes
        table[name] = {"dtype": NAMES[flat.dtype], "shape": list(flat.shape), "data_offsets": [begin, end]}
        pieces += [_memory(flat)] if flat.nbytes else []
    text = json.dumps(state)
    header = json.dumps({"__metadata__": {"state": text, "checksum": _checksum(table, text, pieces)}, **table})
    head = header.encode()
    head += b" " * (-len(head) % 8)
    return [len(head).to_bytes(8, "little") + head, *pieces]


def _memory(tensor: Tensor) -> memoryview:
    """Return the bytes of a contiguous tensor where they lie."""
    block = (ctypes.c_uint8 * tensor.nbytes).from_address(tensor.data_ptr())
    block.owner = tensor  # type: ignore[attr-defined]  # it lives as long as the view
    return memoryview(block)


def decode(block: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Decode what `encode` returned. Raises CorruptCheckpointError unless every byte is as it was written."""
    length = int.from_bytes(block[:8], "little")
    data = memoryview(block)[8 + length :]
    try:
        table = json.loads(block[8 : 8 + length])
        own = table.pop("__metadata__")
        is_intact = own["checksum"] == _checksum(table, own["state"], [data])
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


def _checksum(table: Mapping[str, Any], state: str, pieces: Iterable[memoryview]) -> str:
    digest = hashlib.blake2b(json.dumps([table, state], sort_keys=True).encode(), digest_size=16)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def save(folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write the checkpoint of a step atomically, then remove all but the newest two."""
    with atomic_write(folder / f"step-{step:012d}.safetensors") as temporary, temporary.open("wb") as file:
        file.writelines(_pieces(tensors, state))
    remove_old(folder)


def remove_old(folder: Path) -> None:
    """Remove all checkpoints but the newest two."""
    for old in _places(folder)[KEPT:]:
        shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)


def newest(folder: Path) -> tuple[Path, bytes] | None:
    """Return the newest complete checkpoint: its file with its bytes, or its folder with those of its state.

    Damaged ones are skipped with a warning.
    """
    for place in _places(folder):
        try:
            if place.is_dir():
                return place, sharded_checkpoint.verify(place)
            block = place.read_bytes()
            decode(block)
        except CorruptCheckpointError as error:
            log.warning("%s is skipped: %s", place, error)
        else:
            return place, block
    return None


def read(place: Path, block: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return what `newest` found, each tensor whole."""
    return sharded_checkpoint.load(place, block) if place.is_dir() else decode(block)


def _places(folder: Path) -> list[Path]:
    return sorted(
        (*folder.glob("step-*.safetensors"), *folder.glob(f"step-*{sharded_checkpoint.ENDING}")), reverse=True
    )
