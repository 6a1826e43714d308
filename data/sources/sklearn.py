"""The data sets that scikit-learn ships: `sklearn:digits`, breast_cancer, diabetes, iris, wine, linnerud.

`sklearn:digits_graph` is digits as a graph: each image is a node, joined to the ten most like it and they to it;
`?most=48` and the like follow, as data/sources/_neighborhoods.py says.
"""

import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError, suggest
from evergreen.data import sources
from evergreen.data.sources._neighborhoods import NodeGraph, parse_hops, parse_options

GRAPH, NEIGHBOURS = "digits_graph", 10
TARGETS = {
    "digits": "digit",
    "breast_cancer": "diagnosis",
    "diabetes": "progression",
    "iris": "species",
    "wine": "cultivar",
}


class SklearnSource(sources.Source):
    def read(self) -> Iterator[pa.RecordBatch]:
        if self.name.partition("?")[0] == GRAPH:
            yield from _graph(self.name)
            return
        table = _images(self._load()) if self.name == "digits" else _features(self.name, self._load())
        yield from sources.with_origin(table, f"sklearn:{self.name}").combine_chunks().to_batches(sources.ROWS)

    def fingerprint(self) -> str:
        return f"scikit-learn {version('scikit-learn')} {self.name}"

    def _loader(self) -> Any:
        from sklearn import datasets

        known = [name.removeprefix("load_") for name in dir(datasets) if name.startswith("load_")]
        known = [
            name
            for name in known
            if name not in ("files", "sample_image", "sample_images", "svmlight_file", "svmlight_files")
        ]
        if self.name not in known:
            fix = suggest(self.name, known)
            raise DataError(f"scikit-learn ships no data set '{self.name}'", place=f"sklearn:{self.name}", fix=fix)
        return getattr(datasets, f"load_{self.name}")

    def _load(self) -> Any:
        return self._loader()()


def _images(bunch: Any) -> pa.Table:
    """Return 8×8 pixels of 0 to 16, and the digit."""
    images = np.ascontiguousarray(bunch.images.astype(np.uint8))
    return pa.table({"image": pa.FixedShapeTensorArray.from_numpy_ndarray(images), "digit": pa.array(bunch.target)})


def _graph(name: str) -> Iterator[pa.RecordBatch]:
    """Yield a row for each image: the images within two steps of it, and the digit."""
    from sklearn.datasets import load_digits
    from sklearn.neighbors import kneighbors_graph

    _, options = parse_options(name)
    bunch = load_digits()
    pairs = np.stack(kneighbors_graph(bunch.data, NEIGHBOURS).nonzero(), axis=1)
    columns = pa.table({"id": [str(node) for node in range(len(bunch.data))], "digit": bunch.target})
    pixels = None if options.get("features") == "place" else bunch.data
    tables = NodeGraph(len(bunch.data), pairs).tables(pixels, columns, **parse_hops(options))
    rows = 0
    for table in tables:
        yield from sources.with_origin(table, f"sklearn:{GRAPH}", rows).combine_chunks().to_batches()
        rows += len(table)


def _features(name: str, bunch: Any) -> pa.Table:
    """Return one column a feature, and the target by its class's name where it has one."""
    columns = {clean(feature): pa.array(bunch.data[:, i]) for i, feature in enumerate(bunch.feature_names)}
    target = np.asarray(bunch.target)
    names = [str(item) for item in getattr(bunch, "target_names", [])]
    if target.ndim == 2:  # several targets, one column each
        return pa.table(columns | {clean(item): pa.array(target[:, i]) for i, item in enumerate(names)})
    return pa.table(columns | {TARGETS.get(name, "target"): pa.array([names[i] for i in target] if names else target)})


def clean(name: str) -> str:
    """Return a name of lower-case letters, digits and underscores: "mean radius" is mean_radius."""
    return re.sub(r"\W+", "_", name.lower()).strip("_")
