"""The truth that comes later: labels of rows that were answered before."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from evergreen.core.errors import DataError
from evergreen.stages.deploy.late_labels import FIELDS, add_labels
from evergreen.stages.deploy.request_body import JSON, RequestError, check_count, check_type, parse_object
from evergreen.stages.deploy.responses import json_response

if TYPE_CHECKING:
    from starlette.responses import Response

    from evergreen.stages.deploy.endpoint import Endpoint
    from evergreen.stages.deploy.protocols import Call


async def take_labels(endpoint: Endpoint, call: Call) -> Response:
    """Store labels; say how many, and which were unknown or double."""
    check_type(call.headers, (JSON,))
    name = call.names["pipeline"]
    served, log = endpoint.find(name), endpoint.log
    if log is None:
        raise RequestError(404, "no requests are logged here", fix="serve the pipeline from a project")
    async with endpoint.bodies.read(call, served.limits) as body:
        labels = parse_object(body, served.limits, f'send {{"labels": [{FIELDS.removeprefix("send ")}, …]}}').get(
            "labels"
        )
    if not isinstance(labels, list) or not labels:
        raise DataError("there are no labels", place="the body", fix=f"send a list: {FIELDS}")
    check_count(len(labels), served.limits)

    def add() -> dict[str, object]:
        log.flush()  # a label may come right behind its answer
        return add_labels(log.folder / name, served.model.spec, labels)

    value = await asyncio.get_running_loop().run_in_executor(endpoint.bulk, add)
    return json_response({**value, "request_id": call.request_id})


ROUTES = {"/{pipeline}/labels": {"POST": take_labels}}
