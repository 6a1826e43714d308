"""Tell which source reads a folder by the names of its files, and of which class each file is."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

import pyarrow as pa

from evergreen.core import parts
from evergreen.core.errors import DataError
from evergreen.data.sources._files import extension

BESIDE = ".json"  # ending of files that often say something about those beside them


def detect_folder_source(files: Iterable[str], place: str) -> str:
    """Return which source reads a folder of these files: one made for such names, else that of most endings."""
    listed = [PurePosixPath(name).name for name in files]
    called, by_ending = Counter(listed), Counter(map(extension, listed))
    takes = {name: _endings(name) for name in parts.names("sources")}
    if any(by_ending[one] for wanted in takes.values() for one in wanted if one != BESIDE):
        del by_ending[BESIDE]
    counts = {
        name: (any(called[one] for one in wanted), sum(by_ending[one] for one in wanted))
        for name, wanted in takes.items()
    }
    best = max(counts, key=counts.__getitem__)
    if counts[best] == (False, 0):
        shown = ", ".join(f"{count} {one or 'without an ending'}" for one, count in by_ending.most_common(5))
        known = sorted({one for wanted in takes.values() for one in wanted})
        fix = f"fill it with files of one of these endings: {', '.join(known)}"
        raise DataError(f"the folder holds no readable file ({shown or 'it is empty'})", place=place, fix=fix)
    return best


def label_column(files: Sequence[str]) -> dict[str, pa.Array]:
    """Return the column `label` of files, the names of their folders; none where all lie side by side."""
    labels = [name.split("/")[-2] if "/" in name else None for name in files]
    return {"label": pa.array(labels, pa.string())} if any(labels) else {}


def _endings(kind: str) -> tuple[str, ...]:
    """Return the file endings, and names at the top of a file, of the folders that a source reads."""
    return getattr(parts.load("sources", kind), "FOLDER_OF", ())
