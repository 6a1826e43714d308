"""Build the messages of the Open Inference Protocol's gRPC service, without its parameters, which nothing here reads.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/open_inference_grpc.proto
"""

from __future__ import annotations

from functools import cache
from typing import Any

SERVICE = "inference.GRPCInferenceService"
TENSOR = "1 name string, 2 datatype string, 3 shape int64*"
ABOUT = "1 model_name string, 2 model_version string, 3 id string"
MESSAGES = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "1 live bool",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "1 ready bool",
    "ModelReadyRequest": "1 name string, 2 version string",
    "ModelReadyResponse": "1 ready bool",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "1 name string, 2 version string, 3 extensions string*",
    "ModelMetadataRequest": "1 name string, 2 version string",
    "TensorMetadata": TENSOR,
    "ModelMetadataResponse": "1 name string, 2 versions string*, 3 platform string, 4 inputs TensorMetadata*, "
    "5 outputs TensorMetadata*",
    "InferTensorContents": "1 bool_contents bool*, 2 int_contents int32*, 3 int64_contents int64*, "
    "4 uint_contents uint32*, 5 uint64_contents uint64*, 6 fp32_contents float*, 7 fp64_contents double*, "
    "8 bytes_contents bytes*",
    "InferTensor": f"{TENSOR}, 5 contents InferTensorContents",
    "InferRequestedOutputTensor": "1 name string",
    "ModelInferRequest": f"{ABOUT}, 5 inputs InferTensor*, 6 outputs InferRequestedOutputTensor*, "
    "7 raw_input_contents bytes*",
    "ModelInferResponse": f"{ABOUT}, 5 outputs InferTensor*, 6 raw_output_contents bytes*",
}


@cache
def messages() -> dict[str, Any]:
    """Return name → class of each message; a field is its number, name and type, with * where it is repeated."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="open_inference.proto", package="inference", syntax="proto3")
    for message, fields in MESSAGES.items():
        described = file.message_type.add(name=message)
        for number, name, kind in (field.split() for field in fields.split(", ") if field):
            label = kinds.LABEL_REPEATED if kind.endswith("*") else kinds.LABEL_OPTIONAL
            field = described.field.add(name=name, number=int(number), label=label)
            if (kind := kind.removesuffix("*")) in MESSAGES:
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".inference.{kind}"
            else:
                field.type = kinds.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"inference.{name}")) for name in MESSAGES}
