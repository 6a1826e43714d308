"""Evergreen's own protocol: rows in, one prediction per row out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evergreen.stages.deploy.request_body import JSON, check_type
from evergreen.stages.deploy.responses import json_response

if TYPE_CHECKING:
    from starlette.responses import Response

    from evergreen.stages.deploy.endpoint import Endpoint
    from evergreen.stages.deploy.protocols import Call


async def predict(endpoint: Endpoint, call: Call) -> Response:
    """Answer rows with the version that is served, or with the one that the address names."""
    name = call.names["pipeline"]
    check_type(call.request, (JSON,))
    served = endpoint.find(name, call.names.get("version", ""))
    answers = await endpoint.predict(call, name, served, served.parse)
    return json_response({"version": served.version, "request_id": call.request_id, "predictions": answers})


ROUTES = {
    "/{pipeline}/predict": {"POST": predict},
    "/{pipeline}/{version}/predict": {"POST": predict},
}
