"""Write and read checkpoints of which each process holds a share: a folder a step, by torch's distributed checkpoints.

Each process writes its share of the tensors as one safetensors file, without pickle; `state.json`, written last, holds
the run's state, and size and hash of each file. The folder has its name once all of that lies on the disk. Any number
of processes reads it, each the share that it holds then.
"""

import hashlib
import json
import logging
import shutil
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from evergreen.core.files import publish_file, write_json

ENDING = ".shards"
STATE = "state.json"
UNFINISHED = ".unfinished-"  # begins the name of a folder that is being written
READ_BYTES = 2**24


class CorruptCheckpointError(Exception):
    """Say that bytes are not a complete checkpoint."""


def write(folder: Path, name: str, tensors: Mapping[str, Tensor], group: Any) -> Future[Any]:
    """Copy this process's share of the tensors, and write it in a thread; the future ends when all have written.

    Every process of `group` calls it with the same names.
    """
    from torch.distributed.checkpoint import HuggingFaceStorageWriter, async_save

    folder.mkdir(parents=True, exist_ok=True)
    logging.getLogger("torch.distributed.checkpoint").setLevel(logging.ERROR)
    writer = HuggingFaceStorageWriter(str(folder / f"{UNFINISHED}{name}"), save_distributed=True)
    ending: Any = async_save(dict(tensors), storage_writer=writer, process_group=group)
    return ending  # type: ignore[no-any-return]


def commit(folder: Path, name: str, step: int, state: Mapping[str, Any]) -> None:
    """Make what all processes have written the checkpoint of a step."""
    unfinished, place = folder / f"{UNFINISHED}{name}", folder / f"step-{step:012d}{ENDING}"
    files = {file.name: [file.stat().st_size, _hash(file)] for file in sorted(unfinished.glob("*.safetensors"))}
    write_json(unfinished / STATE, {"format": 1, "state": json.dumps(state), "files": files})
    shutil.rmtree(place, ignore_errors=True)
    publish_file(unfinished, place)


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes were about to write."""
    for left in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(left, ignore_errors=True)


def verify(place: Path) -> bytes:
    """Return the bytes of the state. Raises CorruptCheckpointError unless every file is as it was written."""
    try:
        block = (place / STATE).read_bytes()
        files = json.loads(block)["files"]
        is_intact = all([(place / name).stat().st_size, _hash(place / name)] == each for name, each in files.items())
    except (OSError, ValueError, KeyError) as error:
        raise CorruptCheckpointError("its state or a file cannot be read") from error
    if not is_intact:
        raise CorruptCheckpointError("the hash of a file does not fit")
    return block


def load(
    place: Path, block: bytes, find_template: Callable[[str], Tensor | None] | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the state of a checkpoint; `block` is what `verify` returned.

    In a process group all processes call it, and each gets the share of a tensor that it holds of the template.
    """
    from torch.distributed.checkpoint import HuggingFaceStorageReader
    from torch.distributed.checkpoint import load as load_into

    logging.getLogger("torch.distributed.checkpoint").setLevel(logging.ERROR)
    reader = HuggingFaceStorageReader(str(place))
    tensors: dict[str, Tensor] = {}
    entries: Mapping[str, Any] = reader.read_metadata().state_dict_metadata
    for name, entry in entries.items():
        template = find_template(name) if find_template else None
        if template is not None and template.shape == entry.size:
            tensors[name] = torch.empty_like(template, requires_grad=False)
        else:
            tensors[name] = torch.empty(entry.size, dtype=entry.properties.dtype)
    with warnings.catch_warnings():  # that this process is alone
        warnings.simplefilter("ignore", UserWarning)
        load_into(tensors, storage_reader=reader, no_dist=not distributed.is_initialized())
    return tensors, json.loads(json.loads(block)["state"])


def _hash(file: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with file.open("rb") as stream:
        while piece := stream.read(READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()
