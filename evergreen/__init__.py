"""Keep deep-learning models alive: collect, tune, train, validate, release, serve, and start again.

>>> import evergreen
>>> evergreen.load("digits@v1.2.0").predict(frame)  # doctest: +SKIP
>>> evergreen.Project("~/churn").run("churn")  # doctest: +SKIP
>>> evergreen.Client("http://127.0.0.1:8000").predict("churn", frame)  # doctest: +SKIP
>>> evergreen.Classifier().fit(X, y).predict(X)  # doctest: +SKIP
"""

import importlib
from typing import Any

_MODULES = {
    **dict.fromkeys(("load", "Model", "Project"), "api"),
    **dict.fromkeys(("Client", "AsyncClient"), "client"),
    **dict.fromkeys(("Classifier", "Regressor"), "estimators"),
}
__all__ = [*_MODULES]


def __getattr__(name: str) -> Any:
    """Import what a name needs when it is first used, so that `import evergreen` costs nothing."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
