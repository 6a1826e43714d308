"""Evergreen's own protocol: rows in, one prediction per row out, in any format of stages/deploy/formats."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from evergreen.stages.answer_table import Answers
from evergreen.stages.deploy.answer_options import asks_explanation
from evergreen.stages.deploy.bulk import answer_body, choose_type, write_answers
from evergreen.stages.deploy.form_data import CONTENT_TYPE as FORM
from evergreen.stages.deploy.formats import formats
from evergreen.stages.deploy.request_body import JSON, RequestError, check_type
from evergreen.stages.deploy.responses import answer_rows, json_response
from evergreen.stages.deploy.server_events import is_wanted, send_events
from evergreen.stages.deploy.text_streams import OPTIONS, TextStream, read_sampling

if TYPE_CHECKING:
    from starlette.responses import Response

    from evergreen.stages.deploy.endpoint import Endpoint
    from evergreen.stages.deploy.loaded_version import LoadedVersion, Parse
    from evergreen.stages.deploy.protocols import Call


async def predict(endpoint: Endpoint, call: Call) -> Response:
    """Answer rows with the version that is served, or with the one that the address names."""
    name = call.names["pipeline"]
    served = endpoint.find(name, call.names.get("version", ""))
    content_type = check_type(call.headers, (*formats(), FORM))
    parse: Parse = served.parse
    if content_type == FORM:
        content_type, parse = JSON, served.parse_form(call.headers["content-type"])
    accept = call.headers.get("accept", "*/*")
    answer_type = content_type if accept == "*/*" else choose_type(accept, content_type)
    explained = asks_explanation(call.query)
    if explained and (is_wanted(accept) or (content_type, answer_type) != (JSON, JSON)):
        raise RequestError(400, "an explanation is JSON", fix=f"send and accept {JSON}")
    if is_wanted(accept) or not call.query.keys().isdisjoint(OPTIONS):
        check_type({"content-type": content_type}, (JSON,))
        return await _write(endpoint, call, name, served, parse)
    if content_type != JSON:
        return await answer_body(endpoint, call, name, served, (content_type, answer_type))
    answers = await endpoint.predict(call, name, served, parse, explained=explained)
    if answer_type != JSON:
        return write_answers(answer_type, Answers([answers]), served)
    return await answer_rows({"version": served.version, "request_id": call.request_id}, answers)


async def _write(endpoint: Endpoint, call: Call, name: str, served: LoadedVersion, parse: Parse) -> Response:
    """Write the text of each row as the address asks, or that of one row as events while it is written."""
    query = call.request.query_params
    sampling = read_sampling({**query, "stop": query.getlist("stop") or None}, served)
    async with endpoint.read(call, served, parse) as (parsed, _):
        n_rows = parsed.table.num_rows
    streams = [TextStream(endpoint, call, name, served, parsed.slice(row, 1), sampling) for row in range(n_rows)]
    about = {"version": served.version, "request_id": call.request_id}
    if not is_wanted(call.headers.get("accept", "")):
        return json_response({**about, "predictions": [{"prediction": await one.read_all()} for one in streams]})
    if n_rows > 1:
        raise RequestError(422, f"there are {n_rows} rows", fix="send one row for each stream of events")

    async def events() -> AsyncGenerator[dict[str, Any], None]:
        (stream,) = streams
        async for text in stream.pieces():
            yield {"text": text}
        yield {**about, "prediction": stream.text, "finish_reason": stream.finish_reason, "tokens": stream.n_tokens}

    return await send_events(events())


SPLIT = ("/{pipeline}/predict",)
ROUTES = {
    "/{pipeline}/predict": {"POST": predict},
    "/{pipeline}/{version}/predict": {"POST": predict},
}
