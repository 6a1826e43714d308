"""A transform is undone exactly, is part of the encoding, and refuses what it cannot take."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from evergreen.core.errors import DataError
from evergreen.data import kinds
from evergreen.data.fitting import fit
from evergreen.data.kinds.series import to_fixed_lists
from evergreen.data.spec import FeatureSpec
from evergreen.models.target_scaling import InverseTarget

COUNTS = pa.table(
    {
        "history": to_fixed_lists(np.arange(12.0).reshape(4, 3) ** 2),
        "next": to_fixed_lists(np.arange(4.0)[:, None] ** 2),
    }
)


def spec(transform: str) -> FeatureSpec:
    inputs, target = fit(COUNTS, {"history": "series"}, "next", "series", transform)
    return FeatureSpec("forecasting", inputs, target, "next", None, {})


def test_encoding_applies_it_and_decoding_undoes_it() -> None:
    made = spec("sqrt")
    arrays = made.encode(COUNTS, target=True)
    field = made.target
    roots = arrays["target"] * field.state["std"][0] + field.state["mean"][0]
    assert roots.ravel() == pytest.approx([0, 1, 2, 3], abs=1e-6)
    assert np.ravel(kinds.find("series").decode(field, arrays["target"])) == pytest.approx([0, 1, 4, 9], abs=1e-5)
    assert made.json_schema()["example"]["history"] == pytest.approx([20.25, 30.25, 42.25])  # roots' medians, squared


def test_without_one_nothing_is_in_the_state() -> None:
    assert "transform" not in spec("").target.state


def test_a_logarithm_is_undone_however_large() -> None:
    made = spec("log")
    encoded = made.encode(COUNTS, target=True)["target"]
    assert np.ravel(kinds.find("series").decode(made.target, encoded)) == pytest.approx([0, 1, 4, 9], abs=1e-5)
    units = InverseTarget(made.target)
    assert units(torch.tensor(encoded)).ravel().tolist() == pytest.approx([0, 1, 4, 9], abs=1e-5)
    wild = np.array([[1e6], [-1e6]], np.float32)
    assert np.ravel(kinds.find("series").decode(made.target, wild)) == pytest.approx(units(torch.tensor(wild)).ravel())
    assert np.isfinite(np.ravel(kinds.find("series").decode(made.target, wild))).all()


@pytest.mark.parametrize("name", ["squrt", "exp"])
def test_an_unknown_one_names_the_known(name: str) -> None:
    with pytest.raises(DataError, match=f"'{name}' is not a valid transform.*sqrt"):
        spec(name)


def test_a_request_below_zero_is_refused() -> None:
    made = spec("sqrt")
    with pytest.raises(DataError, match="holds -4, which has no sqrt"):
        made.encode(made.parse_request([{"history": [1, -4, 2]}], "the request"), target=False)
