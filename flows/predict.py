"""`evergreen predict`: the rows of a file, answered by the released model."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from flows.answers import Answer
from stages.artifacts import Paths, find_root
from stages.pipeline import read
from stages.progress import screen


def predict(given: Namespace) -> Answer:
    from stages import versions
    from stages.predict import predict

    root = find_root()
    read(given.name, root)
    versions.prepare(root)
    with screen() as progress:
        value = predict(Paths(root, given.name), Path(given.file), Path(given.output), progress)
    text = f"{value['rows']:,} rows answered by {value['pipeline']} {value['version']}: {value['output']}"
    return Answer(value, text)
