"""A page to try a pipeline in a browser: fields, a place to drop a file, the answer. It needs no network but ours.

The page itself knows nothing: it asks for what it shows, with the key that a person enters where one is needed.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.responses import Response

    from evergreen.stages.deploy.endpoint import Endpoint
    from evergreen.stages.deploy.protocols import Call


async def show_form(endpoint: Endpoint, call: Call) -> Response:
    """Return the page; its own script alone may run in it, and it may ask this endpoint alone."""
    from starlette.responses import HTMLResponse

    page, policy = _page()
    return HTMLResponse(page, headers={"Content-Security-Policy": policy, "X-Frame-Options": "DENY"})


@cache
def _page() -> tuple[str, str]:
    page = Path(__file__).with_name("try.html").read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'"
    return page, f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


OPEN = ("/try",)
ROUTES = {"/try": {"GET": show_form}}
