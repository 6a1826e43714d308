"""The linear baseline: what every other architecture has to beat."""

from torch import Tensor

from evergreen.models.base import Architecture, Batch, Inputs
from evergreen.models.layers import FlattenInputs


class Linear(Architecture):
    """Linear and logistic regression with an L2 penalty (Legendre 1805; Cox 1958; Hoerl and Kennard 1970).

    The features are the inputs themselves, so that the task's head is the whole model. The penalty makes the loss
    strictly convex, and the default recipe runs until it is flat. It fades as rows come: a normal prior of the weights,
    as wide as in logistic regression with C=1 on two classes, whose logits two rows of weights share, and in ridge
    regression with alpha=1.

    Of a text the inputs are the TF-IDF of its words and pieces of words (Spärck Jones 1972; Joachims 1998).

    In: every kind, flattened, categories one-hot. Out: (B, F), F numbers of a row.
    Choose it first of all: whatever does not beat it is not worth its cost. It has no size to turn; `size` is ignored.
    At size=1: breast_cancer accuracy 0.977 and AUC 0.997, diabetes R² 0.437, mean of 8 splits 60/20/20, in 0.2 s of one
    core (scikit-learn's logistic and ridge regression on the same rows: 0.978, 0.997, 0.437); digits 0.966 in 0.5 s.
    """

    VERSION = 4
    ACCEPTS = frozenset({"*"})
    IS_BASELINE = True
    STRENGTHS = {"prior": [0.5, 8.0, 32.0]}
    SEARCH_SPACE = {"prior": (0.01, 100.0, "log")}
    DEFAULTS = {"optimizer": "adam", "learning_rate": 0.05, "weight_decay": 0.0, "prior": 2.0, "keep": "last"}

    def __init__(self, inputs: Inputs, *, size: float = 1.0) -> None:
        super().__init__()
        self.flat = FlattenInputs(inputs, ngrams=True)
        self.out_features = self.flat.width

    def forward(self, batch: Batch) -> Tensor:
        return self.flat(batch)
