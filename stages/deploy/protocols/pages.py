"""Pages about the endpoint itself: its pipelines, its health, its documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evergreen.stages.deploy.api_keys import STRANGER
from evergreen.stages.deploy.openapi import ADDRESS
from evergreen.stages.deploy.responses import json_response

if TYPE_CHECKING:
    from starlette.responses import Response

    from evergreen.stages.deploy.endpoint import Endpoint
    from evergreen.stages.deploy.protocols import Call


async def list_pipelines(endpoint: Endpoint, call: Call) -> Response:
    """Say at which address each pipeline answers."""
    addresses = {name: f"/{name}/predict" for name in sorted(endpoint.served)}
    return json_response({"pipelines": addresses, "docs": "/docs", "health": "/healthz"})


async def show_health(endpoint: Endpoint, call: Call) -> Response:
    """Say what is served; 503 while nothing is. Who needs a key and sends none hears no names."""
    health = endpoint.health() if call.caller is not STRANGER else {"status": endpoint.health()["status"]}
    return json_response(health, 200 if endpoint.served else 503)


async def tell_live(endpoint: Endpoint, call: Call) -> Response:
    """Say that the process answers, whatever it serves."""
    return json_response({"status": "ok"})


async def show_schema(endpoint: Endpoint, call: Call) -> Response:
    """Return the OpenAPI document."""
    from starlette.responses import Response

    return Response(await endpoint.render("schema"), media_type="application/json")


async def show_docs(endpoint: Endpoint, call: Call) -> Response:
    """Return the page for people."""
    from starlette.responses import HTMLResponse

    address = f"http://{call.headers.get('host', '127.0.0.1')}"
    return HTMLResponse((await endpoint.render("page")).replace(ADDRESS, address))


async def show_card(endpoint: Endpoint, call: Call) -> Response:
    """Describe one pipeline's model."""
    name = call.names["pipeline"]
    return json_response({"name": name, **endpoint.find(name).card()})


OPEN = ("/healthz", "/livez")
ROUTES = {
    "/": {"GET": list_pipelines},
    "/healthz": {"GET": show_health},
    "/livez": {"GET": tell_live},
    "/openapi.json": {"GET": show_schema},
    "/docs": {"GET": show_docs},
    "/{pipeline}": {"GET": show_card},
}
