"""Prefect's API of a project, as one who has its key asks it."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import httpx


@contextlib.contextmanager
def open_api(root: Path) -> Iterator[httpx.Client]:
    """A client of the project's server, with its key and a token against forged requests."""
    url = json.loads((root / ".evergreen" / "prefect.json").read_text())["url"]
    user, key = (root / ".evergreen" / "prefect.key").read_text().split(":")
    with httpx.Client(base_url=url, auth=(user, key), trust_env=False, timeout=30) as client:
        token = client.get("/api/csrf-token", params={"client": "test"}).raise_for_status().json()["token"]
        client.headers.update({"Prefect-Csrf-Client": "test", "Prefect-Csrf-Token": token})
        yield client
