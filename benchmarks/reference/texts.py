"""Which package does a sentence describe? 600 short texts of ten classes, a quarter of them to test."""

from __future__ import annotations

from benchmarks.reference.protocol import learn
from evergreen.data.sources.python import docstrings

BARS = {"f1_ahead": (">=", -0.01)}
SEEDS = range(5)
ARCHITECTURE = "linear"
TEXTS = 600


def run(seed: int) -> dict[str, float]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline

    texts = docstrings().select(["text", "package"])
    names = texts["package"].to_pylist()
    rows, _ = train_test_split(range(len(names)), train_size=TEXTS, stratify=names, random_state=seed)
    rest, test = train_test_split(rows, test_size=0.25, stratify=[names[row] for row in rows], random_state=seed)
    train, validation = train_test_split(rest, test_size=0.2, stratify=[names[row] for row in rest], random_state=seed)
    tables = (texts.take(train), texts.take(validation), texts.take(test))
    learned = learn(ARCHITECTURE, "classification", tables, "package", seed=seed, refit=True)
    f1 = learned.metrics()["f1"]
    x, y, x_test, y_test = (texts.take(part)[name].to_pylist() for part in (rest, test) for name in ("text", "package"))
    theirs = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=1000)).fit(x, y)
    tf_idf = float(f1_score(y_test, theirs.predict(x_test), average="macro"))
    return {"f1_ahead": f1 - tf_idf, "f1": f1, "tf_idf": tf_idf}
