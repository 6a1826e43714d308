"""Draw `report/report.html` from the evidence that validate stored: no torch, no Ray, about a second."""

from typing import Any

from evergreen.core.files import read_json, write_text
from evergreen.core.paths import METRICS, Paths
from evergreen.core.progress import Progress, no_progress

VERSION = 1  # raised when the same evidence gives another page; the templates are counted beside it
EVIDENCE = "evidence.json"
FORMAT = 1


def run(config: None, paths: Paths, *, task: str, progress: Progress = no_progress) -> dict[str, Any]:
    """Write the page and return where it lies. Raises PipelineError where nothing was validated yet."""
    from evergreen.pages import model_page

    evidence = read_json(paths.evaluation / EVIDENCE, "format", known_format=FORMAT)
    optional = {"choice": paths.select, "search": paths.tune, "data": paths.ready / "summary.json"}
    page = model_page.page(
        paths.name,
        metrics=read_json(paths.evaluation / METRICS),
        evidence=evidence,
        card=read_json(paths.candidate / "model.json"),
        **{name: read_json(path) if path.is_file() else {} for name, path in optional.items()},
    )
    path = paths.report / "report.html"
    write_text(path, page)
    return {"report": str(path)}
