"""Find the objects in DVC's cache that nothing records: no ref of git, and no file of the working tree.

Records are read as text from every dvc.lock and .dvc file at each branch and tag, so that what a release, a canary, a
pin or a waiting candidate needs is known even where a commit lacks the graph that DVC would read them by.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from evergreen.core.errors import VersionError
from evergreen.core.files import read_text
from evergreen.core.retention import Entry
from evergreen.data.origin_match import count_origin
from evergreen.stages.engines.dvc_stages import open_repo
from evergreen.stages.engines.git_commits import git, head

if TYPE_CHECKING:
    from dvc.repo import Repo

HASH = re.compile(r"\bmd5: ([0-9a-f]{32}(?:\.dir)?)\b")
OBJECT = re.compile(r"[0-9a-f]{32}(\.dir)?")
RECORDS = ("dvc.lock", ".dvc")  # ends of the names of files that hold hashes


@contextlib.contextmanager
def unreferenced_objects(root: Path) -> Iterator[tuple[Repo, list[Entry]]]:
    """Yield DVC's repository, locked, and what its cache holds that nothing records; folders' lists come first.

    A cache outside of the project may be another project's as well: of that one nothing is unreferenced.
    """
    from dvc.repo import lock_repo

    with open_repo(root) as repo, lock_repo(repo):
        cache = Path(repo.cache.local.path)
        own = [path for path in cache.glob("??/*") if OBJECT.fullmatch(path.parent.name + path.name)]
        if not cache.resolve().is_relative_to(root.resolve()):
            own = []
        used = _expand(cache, read_hashes(root)) if own else set()
        left = [path for path in own if path.parent.name + path.name not in used]
        left.sort(key=lambda path: (path.suffix != ".dir", path))
        yield repo, [Entry(path, stat.st_blocks * 512, stat.st_mtime) for path in left for stat in [path.stat()]]


def remove_holders(root: Path, origin: str) -> list[str]:
    """Remove files that hold rows of an origin and that nothing records, from DVC's cache and the default remote.

    Return their hashes. Raises VersionError where the remote does not answer; then they are still in the cache.
    """
    with unreferenced_objects(root) as (repo, entries):
        holders = [entry.path for entry in entries if count_origin(entry.path, origin)]
        oids = [path.parent.name + path.name for path in holders]
        if oids and repo.config["core"].get("remote"):
            remote = repo.cloud.get_remote_odb()
            try:
                for oid in filter(remote.exists, oids):
                    remote.delete(oid)
            except OSError as error:
                raise VersionError(f"the remote failed: {error}", fix="call it again when it answers") from error
        for path in holders:
            path.unlink(missing_ok=True)
    return oids


def read_hashes(root: Path) -> set[str]:
    """Return the hash of each object that a ref of git or a file of the working tree records."""
    top = Path(git(root, "rev-parse", "--show-toplevel").rstrip("\n"))
    listed = git(top, "ls-files", "-z", "--cached", "--others", "--", *(f"*{end}" for end in RECORDS))
    texts = [read_text(top / place) for place in filter(None, listed.split("\0")) if (top / place).is_file()]
    blobs = {blob for commit in _commits(top) for blob in _list_records(top, commit)}
    texts.append(git(top, "cat-file", "--batch", text="".join(f"{blob}\n" for blob in sorted(blobs))))
    return {oid for text in texts for oid in HASH.findall(text)}


def _commits(top: Path) -> set[str]:
    """Return the commits that branches, tags and HEAD name."""
    form = "%(objecttype) %(objectname)%0a%(*objecttype) %(*objectname)"
    refs = (line.split() for line in git(top, "for-each-ref", f"--format={form}").splitlines())
    return {ref[1] for ref in refs if ref[:1] == ["commit"]} | {*filter(None, [head(top)])}


def _list_records(top: Path, commit: str) -> Iterator[str]:
    for line in git(top, "ls-tree", "-r", "-z", commit).split("\0"):
        facts, _, path = line.partition("\t")
        if path.endswith(RECORDS) and facts.split()[1] == "blob":
            yield facts.split()[2]


def _expand(cache: Path, oids: set[str]) -> set[str]:
    """Return hashes with those of the files in each folder among them whose list is in the cache."""
    files = set()
    for oid in oids:
        place = cache / oid[:2] / oid[2:]
        if oid.endswith(".dir") and place.is_file():
            files |= {entry["md5"] for entry in json.loads(place.read_bytes())}
    return oids | files
