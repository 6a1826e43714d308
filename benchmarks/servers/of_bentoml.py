"""BentoML: a process that answers what waits in batches, as adaptively as it does by default."""

import sys
from typing import Any

import bentoml

from benchmarks.servers import MAX_BATCH_ROWS, PORT, answer, load


@bentoml.service(workers=1, metrics={"enabled": False}, logging={"access": {"enabled": False}})
class Digits:
    def __init__(self) -> None:
        load()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH_ROWS, max_latency_ms=10_000, route="/digits/predict")
    def predict(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return answer(rows)


if __name__ == "__main__":
    from bentoml_cli.cli import cli

    where = ["--host", "127.0.0.1", "--port", str(PORT)]
    sys.argv = ["bentoml", "serve", *where, "benchmarks.servers.of_bentoml:Digits"]
    cli()
