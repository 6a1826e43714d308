"""Record in DVC the folder that a version is served from, where that is more than its candidate: `pipelines/NAME.dvc`.

The file is committed with the release, as dvc.lock is, so that DVC pushes, pulls and keeps the folder. It names the
candidate that it belongs to: later commits hold it on, until a release makes another.
"""

from pathlib import Path

from evergreen.core.errors import VersionError
from evergreen.core.files import read_text, write_text
from evergreen.core.paths import Paths
from evergreen.stages.engines import git_commits
from evergreen.stages.engines.dvc_graph import load_yaml
from evergreen.stages.engines.dvc_stages import open_repo

TEMPLATE = """\
wdir: ..
meta:
  candidate: {candidate}
outs:
- hash: md5
  path: {path}
"""


def served_file(name: str) -> str:
    """Return where DVC's file of a pipeline lies."""
    return f"pipelines/{name}.dvc"


def record_served(paths: Paths, candidate: str) -> None:
    """Put `served/` into DVC's cache and write which candidate it was made of, by its hash."""
    from dvc.dvcfile import load_file
    from dvc.repo import lock_repo

    place = served_file(paths.name)
    path = paths.served.relative_to(paths.root).as_posix()
    write_text(paths.root / place, TEMPLATE.format(candidate=candidate, path=path))
    with open_repo(paths.root) as repo, lock_repo(repo):
        stage = load_file(repo, place).stage
        stage.save()
        stage.commit(relink=False)
        stage.dump()


def read_served(root: Path, name: str, candidate: str, commit: str = "") -> tuple[str, str]:
    """Return the text of DVC's file, now or at a commit, and the folder's hash.

    Both are "" where there is none, or that of another candidate.
    """
    place = served_file(name)
    if commit:
        text = git_commits.content(root, commit, place) or ""
    else:
        text = read_text(root / place) if (root / place).is_file() else ""
    try:
        value = load_yaml(text, place) or {}
        is_of_candidate = value["meta"]["candidate"] == candidate
        return (text, str(value["outs"][0]["md5"])) if is_of_candidate else ("", "")
    except (VersionError, LookupError, TypeError):
        return "", ""
