"""Other questions to scikit-learn's 1797 handwritten digits.

`digits:marks` asks what is true of the digit, any number of labels: even, prime, large (5 and above), round (its usual
shape encloses an area: 0, 6, 8, 9). `digits:eight` asks whether it is an 8, as one image in ten is.
"""

from collections.abc import Iterator
from importlib.metadata import version

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError, suggest
from evergreen.data import sources

MARKS = {"even": (0, 2, 4, 6, 8), "prime": (2, 3, 5, 7), "large": (5, 6, 7, 8, 9), "round": (0, 6, 8, 9)}
QUESTIONS = ("marks", "eight")


class DigitsSource(sources.Source):
    def read(self) -> Iterator[pa.RecordBatch]:
        if self.name not in QUESTIONS:
            fix = suggest(self.name, QUESTIONS)
            raise DataError(f"'{self.name}' is not a question", place=f"digits:{self.name}", fix=fix)
        from sklearn.datasets import load_digits

        bunch = load_digits()
        image = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(bunch.images.astype(np.uint8)))
        asked = pa.array([marks(digit) for digit in bunch.target]) if self.name == "marks" else bunch.target == 8
        table = pa.table({"image": image, self.name: asked})
        yield from sources.with_origin(table, f"digits:{self.name}").combine_chunks().to_batches(sources.ROWS)

    def fingerprint(self) -> str:
        return f"scikit-learn {version('scikit-learn')} digits:{self.name}"


def marks(digit: int) -> list[str]:
    """Return what is true of a digit, in alphabetical order; of 1 nothing is."""
    return sorted(mark for mark, digits in MARKS.items() if digit in digits)
