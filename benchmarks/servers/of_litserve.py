"""LitServe: a process of uvicorn, and a worker that answers what waits in batches."""

from typing import Any

import litserve

from benchmarks.servers import MAX_BATCH_ROWS, PORT, answer, load

Rows = list[dict[str, Any]]


class Digits(litserve.LitAPI):
    def setup(self, device: str) -> None:
        load()

    def decode_request(self, request: dict[str, Rows]) -> Rows:
        return request["rows"]

    def predict(self, batch: list[Rows]) -> list[Rows]:
        answers = iter(answer([row for rows in batch for row in rows]))
        return [[next(answers) for _ in rows] for rows in batch]

    def encode_response(self, output: Rows) -> dict[str, Rows]:
        return {"predictions": output}


if __name__ == "__main__":
    api = Digits(max_batch_size=MAX_BATCH_ROWS, batch_timeout=0.0, api_path="/digits/predict")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(host="127.0.0.1", port=PORT, num_api_servers=1, log_level="error", generate_client_file=False)
