"""`evergreen features`: what the released network makes of rows, for other programs to learn from."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from flows.answers import Answer
from stages.artifacts import Paths, find_root
from stages.pipeline import read
from stages.progress import screen


def features(given: Namespace) -> Answer:
    from stages import versions
    from stages.features import features

    root = find_root()
    read(given.name, root)
    versions.prepare(root)
    source = Path(given.input) if given.input else None
    output = Path(given.output or f"{given.name}-features.parquet")
    with screen() as progress:
        value = features(Paths(root, given.name), source, output, progress)
    text = "{rows:,} rows, {features:,} features each, by {pipeline} {version}: {output}".format(**value)
    return Answer(value, text)
