"""The tables: scikit-learn's own, and CSVs that the package pydataset bundles (`benchmarks/requirements.txt`)."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "resources/rdata/csv"


@dataclass(frozen=True)
class Source:
    """Where a table is, what of it is predicted, and which half it belongs to."""

    file: str  # in pydataset, or the name of one of scikit-learn's
    target: str
    about: str
    is_seen: bool  # True: the rules were made while its scores were known
    drop: tuple[str, ...] = ()  # columns that are known only after the target, or name the row
    words: dict[object, str] = field(default_factory=dict)  # labels as a person writes them
    max_rows: int = 50_000
    behind: str = ""  # why it is, where it is; by default the rows that a candidate is tested by

    @property
    def has_classes(self) -> bool:
        """Whether the target is a class."""
        return bool(self.words) or self.file in CLASSES


YES = {0: "no", 1: "yes"}
CLASSES = (
    "Ecdat/Hdma",
    "car/Chile",
    "Ecdat/Participation",
    "MASS/biopsy",
    "lme4/VerbAgg",
    "car/Cowles",
    "Ecdat/DoctorAUS",
)
SOURCES = {
    "breast_cancer": Source(
        "breast_cancer",
        "diagnosis",
        "numbers",
        True,
        words={0: "malignant", 1: "benign"},
        behind="it learns from four fifths of the rows, which costs logistic regression 3%; on one split of five the"
        " temperature that its folds chose does harm, 2% of the mean; the rest is noise of 143 test rows",
    ),
    "diabetes": Source("diabetes", "progression", "few rows, noise", True),
    "mortgages": Source("Ecdat/Hdma", "deny", "mixed, one in eight", True),
    "computers": Source("Ecdat/Computers", "price", "mixed", True),
    "gender": Source("psych/bfi", "gender", "answers of 1 to 6, missing", True, words={1: "man", 2: "woman"}),
    "solder": Source("rpart/solder", "skips", "categories, a skewed count", True),
    "wages": Source("Ecdat/Wages1", "wage", "three columns, skewed", True),
    "relapse": Source("survival/nwtco", "rel", "one in seven", True, ("seqno", "edrel", "in.subcohort"), YES),
    "pneumonia": Source("KMsurv/pneumon", "hospital", "one in fifty", True, ("chldage", "agepn"), YES),
    "diamonds": Source("ggplot2/diamonds", "price", "mixed, skewed", True, max_rows=20_000),
    "plebiscite": Source("car/Chile", "vote", "mixed, missing, four classes", False),
    "canada": Source("car/SLID", "wages", "mixed, missing, skewed", False),
    "visits": Source("Ecdat/OFP", "ofp", "mixed, a skewed count", False, ("ofnp", "opp", "opnp", "emr")),
    "work": Source("Ecdat/Participation", "lfp", "mixed, 872 rows", True),
    "chains": Source("survival/flchain", "death", "mixed, missing", False, ("futime", "chapter"), YES),
    "biopsy": Source("MASS/biopsy", "class", "marks of 1 to 10, missing", True, ("ID",)),
    "anger": Source("lme4/VerbAgg", "r2", "mixed, crossed groups", False, ("resp", "id")),
    "boston": Source("MASS/Boston", "medv", "numbers, 506 rows", True),
    "salaries": Source("car/Salaries", "salary", "mixed, 397 rows", True),
    "training": Source(
        "Ecdat/Treatment", "treat", "mixed, one in fourteen", False, ("re78",), {True: "yes", False: "no"}
    ),
    "hours": Source("Ecdat/HI", "whrswk", "mixed, 22,272 rows", False, ("wght", "whi", "hhi")),
    "volunteers": Source("car/Cowles", "volunteer", "two scores, noise", False),
    "schools": Source("Ecdat/Star", "tmathssk", "mixed, noise", False, ("treadssk", "schidkn")),
    "expenses": Source("Ecdat/MedExp", "med", "mixed, very skewed", False),
    "food": Source("Ecdat/BudgetFood", "wfood", "mixed, 23,972 rows", False),
    "districts": Source("Ecdat/Caschool", "testscr", "420 rows", False, ("distcod", "district", "readscr", "mathscr")),
    "labour": Source("Ecdat/Workinghours", "hours", "mixed, noise", False),
    "insurance": Source("Ecdat/DoctorAUS", "insurance", "mixed, four classes", False),
}


def load(name: str) -> pd.DataFrame:
    """Return a table, its target in words where it is a class, without rows whose target is missing."""
    source = SOURCES[name]
    frame = _read(source.file, source.target)
    frame = frame.drop(columns=list(source.drop)).dropna(subset=[source.target])
    if source.words:
        frame[source.target] = frame[source.target].map(source.words)
    return frame.sample(source.max_rows, random_state=0) if len(frame) > source.max_rows else frame


def _read(file: str, target: str) -> pd.DataFrame:
    import pandas as pd
    from sklearn import datasets

    if "/" not in file:
        bunch = getattr(datasets, f"load_{file}")(as_frame=True)
        return bunch.data.assign(**{target: bunch.target})
    member = _archive().extractfile(f"{FOLDER}/{file}.csv")
    assert member
    return pd.read_csv(io.BytesIO(member.read()), index_col=0)


@cache
def _archive() -> tarfile.TarFile:
    """Open what pydataset bundles; importing the package would write into the home folder."""
    place = metadata.distribution("pydataset").locate_file("pydataset/resources.tar.gz")
    return tarfile.open(Path(str(place)))
