"""Sign links by which a person decides without a login, and check them: for one matter, for a time, with a key.

The key, `.evergreen/links.key`, is the owner's; without it none can be made, and who has a link may do what it says.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlencode

from evergreen.core.durations import HOUR
from evergreen.core.errors import PipelineError
from evergreen.core.files import read_json, read_secret
from evergreen.core.paths import Paths
from evergreen.core.processes import lock_owner

Action = Literal["approve", "reject", "retrain"]


@dataclass(frozen=True)
class Link:
    """Name what whoever has it may do."""

    action: Action
    pipeline: str
    matter: str  # the hash of the candidate; of a training the version in service
    until: int  # seconds since 1970

    def sign(self, root: Path) -> str:
        """Return its seal, which only the project's key makes."""
        words = "\0".join([self.action, self.pipeline, self.matter, str(self.until)])
        seal = hmac.digest(read_secret(root / ".evergreen" / "links.key").encode(), words.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(seal).decode().rstrip("=")


def address_file(root: Path) -> Path:
    """Return the file that says where what answers links listened last."""
    return root / ".evergreen" / "links.json"


def make_links(paths: Paths, actions: tuple[Action, ...], matter: str, hours: float, address: str = "") -> str:
    """Return a text with a link for each action; "" where nothing watches, which would answer them.

    `address` is under which people reach it; by default where it listens.
    """
    file = address_file(paths.root)
    if not file.is_file() or not lock_owner(paths.root / ".evergreen" / "locks" / "watch"):
        return ""
    place, until, lines = address.rstrip("/") or read_json(file, "url")["url"], int(time.time() + hours * HOUR), []
    for action in actions:
        link = Link(action, paths.name, matter, until)
        query = {"pipeline": link.pipeline, "matter": matter, "until": until, "seal": link.sign(paths.root)}
        lines.append(f"{action}: {place}/{action}?{urlencode(query)}")
    return "\n".join(lines)


def check_link(root: Path, action: str, query: Mapping[str, str]) -> Link:
    """Return what a link's query says. Raises PipelineError where the project's key did not make it, or it is over."""
    fix = "open the newest message, or use the command line"
    until = query.get("until", "")
    if action not in get_args(Action) or not (until.isascii() and until.isdecimal() and len(until) < 12):
        raise PipelineError("this is no link of this project", fix=fix)
    link = Link(action, query.get("pipeline", ""), query.get("matter", ""), int(until))  # type: ignore[arg-type]
    if not hmac.compare_digest(query.get("seal", "").encode(), link.sign(root).encode()):
        raise PipelineError("this is no link of this project", fix=fix)
    if time.time() > link.until:
        raise PipelineError("this link is over", fix=fix)
    return link
