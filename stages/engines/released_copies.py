"""Find the copies of released models, under `.evergreen/released`, that nothing serves and DVC's cache has as well."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path

from evergreen.core.paths import Paths
from evergreen.stages.engines import challengers
from evergreen.stages.engines.candidates import read_own_tags, recorded_candidates
from evergreen.stages.engines.dvc_stages import open_repo
from evergreen.stages.engines.git_tags import Tags

PREDICTIONS = ".parquet"  # the ending of a version's answers, beside its folder


def list_unneeded(root: Path, served: Collection[str]) -> Iterator[Path]:
    """Yield copies of versions that are neither in production nor were before that, nor beside it or `served`.

    `served` holds "NAME VERSION".
    """
    tags = read_own_tags(root)
    with open_repo(root) as repo:
        cache = Path(repo.cache.local.path)
        for copy in sorted(root.glob(".evergreen/released/*/*")):
            name, version = copy.parent.name, copy.name.removesuffix(PREDICTIONS)
            known = tags.get(name)
            is_needed = known is None or f"{name} {version}" in served or version in _needed(known)
            if known and not is_needed and _is_cached(cache, Paths(root, name), known, version):
                yield copy


def _needed(tags: Tags) -> set[str]:
    """Return the versions that answer somebody, and the one that a rollback goes back to."""
    rollout, history = challengers.read_rollout(tags), [*dict.fromkeys(filter(None, reversed(tags.production_history)))]
    return {*history[:2], rollout.version, *rollout.pins.values()}


def _is_cached(cache: Path, paths: Paths, tags: Tags, version: str) -> bool:
    """Tell whether DVC's cache has the whole of a version's model."""
    found = tags.find(version)
    oid = found and recorded_candidates(paths.root, {paths.name: [found]})[paths.name, found.commit]
    listed = _place(cache, oid) if oid else None
    if listed is None or not listed.is_file():
        return False
    return all(_place(cache, entry["md5"]).is_file() for entry in json.loads(listed.read_bytes()))


def _place(cache: Path, oid: str) -> Path:
    return cache / oid[:2] / oid[2:]
