"""Keep the API keys of a project: only their hashes are stored, in a file that its owner alone may read.

Without the file everybody who reaches the endpoint may ask. A key has 256 random bits, so a plain hash tells nothing of
it. What a key spends is counted in each replica by itself.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evergreen.core.addresses import is_address, join
from evergreen.core.errors import PipelineError, suggest
from evergreen.core.files import atomic_write, make_private, read_json, read_secret
from evergreen.core.processes import exclusive_lock
from evergreen.data.object_store import ObjectStore
from evergreen.stages.deploy.request_body import RequestError
from evergreen.stages.engines import cluster_file

PREFIX = "eg_"
KEYS = "keys.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LIMITS = ("requests_per_minute", "rows_per_minute")
LOOK_SECONDS = 1.0  # between two looks at the file: so long a key that was revoked still works
OWNER = "evergreen"  # the name of the key with which a project's own commands ask
SEND = "send it with the header Authorization: Bearer KEY"


def keys_file(root: Path) -> Path:
    """Return where the keys of a project lie."""
    return root / ".evergreen" / KEYS


def owner_key(root: Path) -> str:
    """Return the key with which a project's own commands ask its endpoint; it is made when it is first needed."""
    return read_secret(root / ".evergreen" / "endpoint.key", PREFIX)


def owner_headers(root: Path) -> dict[str, str]:
    """Return the headers with which a project's own commands ask its endpoint."""
    return {"Authorization": f"Bearer {owner_key(root)}"} if keys_file(root).exists() else {}


def describe_owner(root: Path) -> dict[str, dict[str, Any]]:
    """Return what is known of the key of a project's own commands, as `list_keys` does of the others."""
    return {OWNER: {"hash": _hash(owner_key(root)), "pipelines": []}}


def list_keys(root: Path) -> dict[str, dict[str, Any]]:
    """Return name → what is known of a key: its pipelines (none: all of them), limits, when it was made, its hash."""
    path = keys_file(root)
    return read_json(path, "keys")["keys"] if path.exists() else {}


def add_key(root: Path, name: str, pipelines: Sequence[str] = (), **limits: int | None) -> str:
    """Make a key and return it; nothing tells it again. Raises PipelineError for a name that is taken or none."""
    if not NAME.fullmatch(name) or name == OWNER:
        raise PipelineError(f"{name!r} is no name of a key", fix="use letters, digits, '-', '_' and '.'")
    secret = PREFIX + secrets.token_urlsafe(32)
    entry = {"hash": _hash(secret), "pipelines": sorted(pipelines), "created": datetime.now(UTC).isoformat()}
    with _locked(root):
        keys = list_keys(root)
        if name in keys:
            raise PipelineError(f"there is a key {name!r} already", fix=f"evergreen keys revoke {name}")
        _write(root, keys | {name: entry | {limit: value for limit, value in limits.items() if value is not None}})
    return secret


def revoke_key(root: Path, name: str) -> None:
    """Remove a key. Raises PipelineError where there is none of this name."""
    with _locked(root):
        keys = list_keys(root)
        if name not in keys:
            raise PipelineError(f"there is no key {name!r}", fix=suggest(name, keys, "keys"))
        del keys[name]
        _write(root, keys)


def _locked(root: Path) -> Any:
    return exclusive_lock(root / ".evergreen" / "locks" / "keys", "the keys are being changed", timeout_s=10)


def _write(root: Path, keys: dict[str, Any]) -> None:
    with atomic_write(keys_file(root)) as temporary:
        temporary.touch(0o600)
        temporary.write_text(json.dumps({"format": 1, "keys": keys}, indent=1) + "\n", encoding="utf-8")
    publish_keys(root, keys)


def publish_keys(root: Path, keys: Mapping[str, Any]) -> None:
    """Let the replicas of the cluster, if there is one, know the hashes of all keys."""
    cluster = cluster_file.read(root)
    if not cluster.address:
        return
    place, content = place_of(cluster.storage), json.dumps({"format": 1, "keys": {**keys, **describe_owner(root)}})
    if is_address(place):
        ObjectStore(place).put_bytes(KEYS, content.encode())
        return
    with atomic_write(make_private(Path(place)) / KEYS) as temporary:
        temporary.touch(0o600)
        temporary.write_text(content, encoding="utf-8")


def place_of(storage: str) -> str:
    """Return where the endpoint of a cluster keeps what all replicas share."""
    return join(storage, "endpoint") if is_address(storage) else str(Path(storage, "endpoint"))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()


@dataclass(eq=False)
class Caller:
    """Somebody with a key, and what of its limits is left; more rows than that are paid for by waiting."""

    name: str
    pipelines: frozenset[str] = frozenset()  # none: all
    per_minute: dict[str, float] = field(default_factory=dict)  # limit → how much
    left: dict[str, float] = field(default_factory=dict)
    filled: float = field(default_factory=time.monotonic)

    def check(self, pipeline: str | None) -> None:
        """Raise RequestError (403) where the key is not for a pipeline."""
        if pipeline and self.pipelines and pipeline not in self.pipelines:
            fix = f"it is for {', '.join(sorted(self.pipelines))}"
            raise RequestError(403, f"the key {self.name} is not for {pipeline:.80}", fix=fix)

    def admit(self, pipeline: str | None) -> None:
        """Count one request. Raises RequestError for another's pipeline (403) and beyond a limit (429)."""
        self.check(pipeline)
        if not self.per_minute:
            return
        now = time.monotonic()
        for limit, amount in self.per_minute.items():
            left = self.left.get(limit, amount) + (now - self.filled) / 60 * amount
            self.left[limit] = min(amount, left)
        self.filled = now
        for limit, amount in self.per_minute.items():
            if (lacking := 1 - self.left[limit]) > 0:
                seconds = math.ceil(60 * lacking / amount)
                problem = f"the key {self.name} has no {limit.replace('_', ' ')} left of {amount:,.0f}"
                raise RequestError(429, problem, fix=f"try again in {seconds} s", headers={"Retry-After": str(seconds)})
        self.spend("requests_per_minute", 1)

    def spend(self, limit: str, amount: float) -> None:
        """Take something from what is left of a limit, if there is this limit."""
        if limit in self.left:
            self.left[limit] -= amount


EVERYBODY, STRANGER = Caller(""), Caller("")  # where no key is needed; who has none where one is


class Doorkeeper:
    """Tell who asks, by the file of keys as it is now; a file that goes or breaks lets nobody in that it did not."""

    def __init__(self, path: Path | None = None, *, is_locked: bool = False) -> None:
        """Read keys from `path`; with `is_locked` nobody is let in without one, also where the file is not seen."""
        self.path = path
        # by the hash of the key; None: everybody may ask
        self._callers: dict[str, Caller] | None = {} if is_locked else None
        self._signature: tuple[int, ...] | None = None
        self._next_look = 0.0

    def identify(self, headers: Mapping[str, str], *, is_open: bool = False) -> Caller:
        """Return who asks, at an address that is open also a STRANGER.

        Raises RequestError (401) where a key is needed and none of those that there are is sent.
        """
        if self.path is not None and time.monotonic() >= self._next_look:
            self._look(self.path)
        if self._callers is None:
            return EVERYBODY
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        secret = secret.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        caller = self._callers.get(_hash(secret)) if secret else None
        if caller is None and is_open:
            return STRANGER
        if caller is None:
            problem = "the API key is not known" if secret else "the request has no API key"
            raise RequestError(401, problem, fix=SEND, headers={"WWW-Authenticate": "Bearer"})
        return caller

    def _look(self, path: Path) -> None:
        """Read the file again where it has changed; what a key has left stays."""
        self._next_look = time.monotonic() + LOOK_SECONDS
        try:
            stat = path.stat()
            signature = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if signature == self._signature:
                return
            entries = read_json(path, "keys")["keys"]
            if OWNER not in entries:
                entries |= describe_owner(path.parents[1])
        except FileNotFoundError:
            self._callers, self._signature = {} if self._callers is not None else None, None
            return
        except (PipelineError, OSError) as error:
            logging.getLogger("ray.serve").error("API keys: %s", error)
            self._callers = self._callers or {}
            return
        before = {caller.name: caller for caller in (self._callers or {}).values()}
        self._signature, self._callers = signature, {}
        for name, entry in entries.items():
            caller = Caller(name, frozenset(entry["pipelines"]), {key: entry[key] for key in LIMITS if key in entry})
            if name in before and before[name].per_minute == caller.per_minute:
                caller.left, caller.filled = before[name].left, before[name].filled
            self._callers[entry["hash"]] = caller
