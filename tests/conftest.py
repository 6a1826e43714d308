"""What tests of several rooms share."""

import numpy as np
import pyarrow as pa
import pytest


@pytest.fixture(scope="session")
def random_model():
    """Writes a real but untrained model of small pictures ("digits") or of mixed columns ("sizes") into a folder."""

    def make(name, folder, seed, architecture="linear", **options):
        import torch

        from evergreen.data import kinds
        from evergreen.data.spec import FeatureSpec, fit
        from evergreen.models.registry import build
        from evergreen.stages.artifacts import save_model

        random = np.random.default_rng(0)
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
        }[name]
        table = pa.table({column: kinds.find(kind).validate(values)[0] for column, (kind, values) in columns.items()})
        *inputs, target = columns
        fields, aim = fit(table, {column: columns[column][0] for column in inputs}, target, "category")
        spec = FeatureSpec("classification", fields, aim, target, None, {"train": 40})
        torch.manual_seed(seed)
        network = build(architecture, spec.task, spec.inputs, spec.target, **options)
        card = {"architecture": architecture, "task": spec.task, "options": options, "spec": spec.to_json()}
        save_model(folder, network, card | {"scores": {"accuracy": 0.1}})

    return make
