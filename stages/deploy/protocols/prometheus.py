"""Figures for Prometheus: requests, seconds, rows, batches, queues, what the request log dropped."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from evergreen.stages.deploy.counters import render

if TYPE_CHECKING:
    from starlette.responses import Response

    from evergreen.stages.deploy.endpoint import Endpoint
    from evergreen.stages.deploy.protocols import Call


async def show_figures(endpoint: Endpoint, call: Call) -> Response:
    """Return the figures of all replicas."""
    from starlette.responses import Response

    text = await asyncio.get_running_loop().run_in_executor(endpoint.loading, render, endpoint)
    return Response(text, headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})


ROUTES = {"/metrics": {"GET": show_figures}}
