"""Turn standardized numbers back into the data's units."""

from collections.abc import Callable

from torch import Tensor

from evergreen.core.errors import ModelError
from evergreen.models.base import FieldLike

MAX_LOG = 70.0  # the logarithm of what is larger than any number that is read
BACK: dict[str, Callable[[Tensor], Tensor]] = {
    "": lambda value: value,
    "sqrt": lambda value: value.clamp_min(0).square(),
    "log": lambda value: value.clamp(0, MAX_LOG).expm1(),
}
FORWARD: dict[str, Callable[[Tensor], Tensor]] = {
    "": lambda value: value,
    "sqrt": lambda value: value.clamp_min(0).sqrt(),
    "log": lambda value: value.clamp_min(0).log1p(),
}


class InverseTarget:
    """Undo the encoding of a numeric target: its `mean` and `std`, and its `transform` if it has one.

    The transform "sqrt" steadies the variance of counts (Bartlett 1936); "log" is that of 1 + y.
    """

    def __init__(self, target: FieldLike) -> None:
        self.mean, self.std = float(target.state["mean"][0]), float(target.state["std"][0])
        self.transform = target.state.get("transform") or ""
        if self.transform not in BACK:
            fix = "use sqrt, log or none"
            raise ModelError(f"{self.transform!r} is not a valid transform", place="target", fix=fix)

    def __call__(self, encoded: Tensor) -> Tensor:
        """Return values in the data's units, float64, of the same shape."""
        return BACK[self.transform](encoded.double() * self.std + self.mean)

    def encode(self, value: Tensor) -> Tensor:
        """Return values in the data's units as they are encoded, float32, of the same shape."""
        return ((FORWARD[self.transform](value.double()) - self.mean) / self.std).float()
