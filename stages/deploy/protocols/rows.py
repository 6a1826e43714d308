"""Evergreen's own protocol: rows in, one prediction per row out, in any format of stages/deploy/formats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evergreen.stages.answer_table import Answers
from evergreen.stages.deploy.bulk import answer_body, choose_type, write_answers
from evergreen.stages.deploy.formats import formats
from evergreen.stages.deploy.request_body import JSON, check_type
from evergreen.stages.deploy.responses import json_response

if TYPE_CHECKING:
    from starlette.responses import Response

    from evergreen.stages.deploy.endpoint import Endpoint
    from evergreen.stages.deploy.protocols import Call


async def predict(endpoint: Endpoint, call: Call) -> Response:
    """Answer rows with the version that is served, or with the one that the address names."""
    name = call.names["pipeline"]
    content_type = check_type(call.headers, formats())
    accept = call.headers.get("accept", "*/*")
    answer_type = content_type if accept == "*/*" else choose_type(accept, content_type)
    served = endpoint.find(name, call.names.get("version", ""))
    if content_type != JSON:
        return await answer_body(endpoint, call, name, served, (content_type, answer_type))
    answers = await endpoint.predict(call, name, served, served.parse)
    if answer_type != JSON:
        return write_answers(answer_type, Answers([answers]), served)
    return json_response({"version": served.version, "request_id": call.request_id, "predictions": answers})


ROUTES = {
    "/{pipeline}/predict": {"POST": predict},
    "/{pipeline}/{version}/predict": {"POST": predict},
}
