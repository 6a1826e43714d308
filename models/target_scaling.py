"""Turn standardized numbers back into the data's units."""

from torch import Tensor

from evergreen.core.errors import ModelError
from evergreen.models.base import FieldLike


class InverseTarget:
    """Undo the encoding of a numeric target: its `mean` and `std`, and its `transform` if it has one.

    The transform "sqrt" steadies the variance of counts (Bartlett 1936).
    """

    def __init__(self, target: FieldLike) -> None:
        self.mean, self.std = float(target.state["mean"][0]), float(target.state["std"][0])
        self.transform = target.state.get("transform") or ""
        if self.transform not in ("", "sqrt"):
            raise ModelError(f"{self.transform!r} is not a valid transform", place="target", fix="use sqrt or none")

    def __call__(self, encoded: Tensor) -> Tensor:
        """Return values in the data's units, float64, of the same shape."""
        value = encoded.double() * self.std + self.mean
        return value.clamp_min(0).square() if self.transform == "sqrt" else value
