"""What tests of several rooms share."""

import gc
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from evergreen.core import parts, redaction

LONGEST = {"test_flow.py", "test_installed.py"}  # minutes each, whatever the number of their tests


def pytest_collection_modifyitems(items):
    """Begin with the files of few and long tests, so that at the end no worker waits for another."""
    tests = Counter(item.path for item in items)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path.name not in LONGEST, item.path not in slow, tests[item.path], item.path))


def pytest_collection_finish():
    """Keep what was imported out of the garbage collector's sight: looking through it took a sixth of the time."""
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_of_another_test():
    """Forget the parts of the project that a test opened, and the secrets it filled in, as a new process would."""
    yield
    parts.adopt({})
    redaction.forget()


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_the_disk():
    """Leave out fsync: it guards against power cuts, and no test has one. What a killed process wrote stays anyway."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        yield


@pytest.fixture(scope="session")
def random_model():
    """Writes a real but untrained model of one kind of rows into a folder.

    "digits" are small matrices, "sizes" mixed columns, "photos" files of pictures, "sounds" samples, "words" texts.
    """

    def make(name, folder, seed, architecture="linear", **options):
        import torch

        from evergreen.data import kinds
        from evergreen.data.fitting import fit
        from evergreen.data.kinds._images import encode_png as as_png
        from evergreen.data.spec import FeatureSpec
        from evergreen.models.registry import build
        from evergreen.stages.artifacts import save_model

        random = np.random.default_rng(0)
        pairs = pa.array(np.arange(40) % 2)
        pictures = np.random.default_rng(1).integers(0, 255, (40, 24, 24, 3), dtype=np.uint8)
        tones = [{"samples": np.sin(np.arange(2000) / 9).tolist(), "rate": 8000}] * 40
        columns = {
            "digits": {
                "image": ("image", pa.FixedShapeTensorArray.from_numpy_ndarray(random.random((40, 4, 4)))),
                "digit": ("category", pa.array(np.arange(40) % 3)),
            },
            "sizes": {
                "age": ("number", pa.array(random.random(40))),
                "colour": ("category", pa.array(["red", "blue"] * 20)),
                "size": ("category", pa.array(["small", "large"] * 20)),
            },
            "photos": {"image": ("image", pa.array(map(as_png, pictures))), "kind": ("category", pairs)},
            "sounds": {"sound": ("audio", pa.array(tones)), "kind": ("category", pairs)},
            "words": {
                "text": ("text", pa.array(["a small bird sings now and then"] * 40)),
                "kind": ("category", pairs),
            },
        }[name]
        table = pa.table({column: kinds.find(kind).validate(values)[0] for column, (kind, values) in columns.items()})
        *inputs, target = columns
        kind_of, cut = {column: columns[column][0] for column in inputs}, {"text": {"unit": "bpe"}}
        fields, aim = fit(table, kind_of, target, "category", options=cut if name == "words" else {})
        spec = FeatureSpec("classification", fields, aim, target, None, {"train": 40})
        torch.manual_seed(seed)
        network = build(architecture, spec.task, spec.inputs, spec.target, **options)
        card = {"architecture": architecture, "task": spec.task, "options": options, "spec": spec.to_json()}
        save_model(folder, network, card | {"scores": {"accuracy": 0.1}})

    return make
