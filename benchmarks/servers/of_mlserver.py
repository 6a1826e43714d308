"""MLServer: one process, which answers what waits in batches; it speaks the Open Inference Protocol."""

import asyncio

import numpy as np
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.servers import MAX_BATCH_ROWS, PORT, answer, load


class Digits(MLModel):
    async def load(self) -> bool:
        load()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        images = NumpyCodec.decode_input(payload.inputs[0])
        answers = answer([{payload.inputs[0].name: image} for image in images.tolist()])
        probabilities = np.array([[*one["probabilities"].values()] for one in answers])
        outputs = [
            StringCodec.encode_output("prediction", [str(one["prediction"]) for one in answers]),
            NumpyCodec.encode_output("probabilities", probabilities),
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)


async def main() -> None:
    ports = {"http_port": PORT, "grpc_port": PORT + 1, "metrics_port": PORT + 2}
    settings = Settings(host="127.0.0.1", parallel_workers=0, debug=False, **ports)
    batches = {"max_batch_size": MAX_BATCH_ROWS, "max_batch_time": 0.001}
    await MLServer(settings).start([ModelSettings(name="digits", implementation=Digits, **batches)])


if __name__ == "__main__":
    asyncio.run(main())
