"""Clients of other projects, each in an environment of its own, ask a real endpoint."""

import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from evergreen.stages.deploy import stage as deploy
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.engines import haproxy, listening, ray_node
from tests.stages.writers import SONG, save_writer

TRITON = """
import json, sys
import numpy as np
from tritonclient import http

host = sys.argv[1]
client = http.InferenceServerClient(host)
assert client.is_server_live() and client.is_server_ready()
assert client.is_model_ready("sizes") and client.is_model_ready("sizes", "v1.0.0")
assert not client.is_model_ready("sizes", "v2.0.0")
assert client.get_server_metadata()["name"] == "evergreen"
shapes = {one["name"]: one["shape"] for one in client.get_model_metadata("digits")["inputs"]}
found = {"shapes": shapes, "answers": []}
ages, colours = np.array([0.5, 0.25]), np.array(["red", "blue"], dtype=object)
for binary in (False, True):
    for coding in (None, "gzip", "deflate"):
        age, colour = http.InferInput("age", [2], "FP64"), http.InferInput("colour", [2], "BYTES")
        age.set_data_from_numpy(ages, binary_data=binary)
        colour.set_data_from_numpy(colours, binary_data=binary)
        asked = [http.InferRequestedOutput(name, binary_data=binary) for name in ("prediction", "p_small")]
        answer = client.infer(
            "sizes", [age, colour], outputs=asked, request_id="mine", request_compression_algorithm=coding,
            response_compression_algorithm=coding,
        )
        words = [one.decode() if isinstance(one, bytes) else one for one in answer.as_numpy("prediction").tolist()]
        found["answers"].append([words, answer.as_numpy("p_small").tolist(), answer.get_response()["id"]])
image = http.InferInput("image", [1, 4, 4], "FP32")
image.set_data_from_numpy(np.zeros((1, 4, 4), np.float32))
found["digits"] = client.infer("digits", [image]).as_numpy("prediction").shape
try:
    client.infer("size", [image])
except Exception as error:
    found["error"] = str(error)
print(json.dumps(found))
"""

TRITON_GRPC = """
import json, sys
import numpy as np
from tritonclient import grpc

client = grpc.InferenceServerClient(sys.argv[1])
assert client.is_server_live() and client.is_server_ready()
assert client.is_model_ready("sizes") and client.is_model_ready("sizes", "v1.0.0")
assert not client.is_model_ready("sizes", "v2.0.0")
assert client.get_server_metadata().name == "evergreen"
shapes = {one.name: list(one.shape) for one in client.get_model_metadata("digits").inputs}
age, colour = grpc.InferInput("age", [2], "FP64"), grpc.InferInput("colour", [2], "BYTES")
age.set_data_from_numpy(np.array([0.5, 0.25]))
colour.set_data_from_numpy(np.array(["red", "blue"], dtype=object))
asked = [grpc.InferRequestedOutput(name) for name in ("prediction", "p_small")]
answer = client.infer("sizes", [age, colour], outputs=asked, request_id="mine", compression_algorithm="gzip")
words = [one.decode() for one in answer.as_numpy("prediction").tolist()]
found = {"shapes": shapes, "answers": [words, answer.as_numpy("p_small").tolist(), answer.get_response().id]}
try:
    client.infer("size", [age, colour])
except Exception as error:
    found["error"] = f"{error.status()} {error.message()}"
print(json.dumps(found))
"""
KSERVE = """
import asyncio, json, sys
import numpy as np
from kserve import InferInput, InferRequest, InferenceRESTClient
from kserve.inference_client import RESTConfig

async def ask(url):
    client, answers = InferenceRESTClient(RESTConfig(protocol="v2", timeout=60)), []
    assert await client.is_server_live(url) and await client.is_server_ready(url)
    assert await client.is_model_ready(url, "sizes")
    for binary in (False, True):
        age, colour = InferInput("age", [2], "FP64"), InferInput("colour", [2], "BYTES")
        age.set_data_from_numpy(np.array([0.5, 0.25]), binary_data=binary)
        colour.set_data_from_numpy(np.array(["red", "blue"], dtype=object), binary_data=binary)
        request = InferRequest(model_name="sizes", infer_inputs=[age, colour], request_id="mine")
        answer = await client.infer(url, request, model_name="sizes")
        data = {one.name: one.data for one in answer.outputs}
        answers.append([data["prediction"], data["p_small"], answer.id])
    print(json.dumps(answers))

asyncio.run(ask(sys.argv[1]))
"""
OPENAI = """
import json, sys
import openai

client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0)
asked = {"model": "song", "prompt": "a small", "max_tokens": 8, "temperature": 0}
whole = client.completions.create(**asked)
pieces = [*client.completions.create(**asked, stream=True, stream_options={"include_usage": True})]
chat = {"model": "song", "messages": [{"role": "user", "content": "a small"}], "max_tokens": 8, "temperature": 0}
chunks = [*client.chat.completions.create(**chat, stream=True)]
found = {
    "models": [one.id for one in client.models.list()],
    "texts": [
        whole.choices[0].text,
        "".join(one.choices[0].text for one in pieces if one.choices),
        client.chat.completions.create(**chat).choices[0].message.content,
        "".join(one.choices[0].delta.content or "" for one in chunks),
    ],
    "usage": [whole.usage.completion_tokens, pieces[-1].usage.completion_tokens],
    "reasons": [whole.choices[0].finish_reason, chunks[-1].choices[0].finish_reason],
}
try:
    client.completions.create(model="son", prompt="a")
except openai.NotFoundError as error:
    found["error"] = str(error)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def url(clone, tmp_path_factory, random_model):
    released = {}
    for name in ("digits", "sizes"):
        folder = tmp_path_factory.mktemp(name)
        random_model(name, folder, 1)
        released[name] = {"version": "v1.0.0", "path": str(folder)}
    song = tmp_path_factory.mktemp("song")
    save_writer(song, "language_modelling", "decoder", ("text", SONG), ("text", SONG), "bpe")
    released["song"] = {"version": "v1.0.0", "path": str(song)}
    yield deploy.deploy(clone, released, DeployConfig(grpc=True))["url"]
    deploy.undeploy(clone)


def make_environment(folder: Path, *packages: str) -> Path:
    """Return the interpreter of a new environment with these packages of the registry."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


def run(python: Path, script: str, address: str):
    """Return the JSON that a client's script prints."""
    ran = subprocess.run([python, "-c", script, address], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def answer_rows(url: str):
    """Return what the clients' rows are answered in JSON: the classes, a probability, and the id that they give."""
    import httpx

    rows = [{"age": 0.5, "colour": "red"}, {"age": 0.25, "colour": "blue"}]
    answers = httpx.post(f"{url}/sizes/predict", json={"rows": rows}).json()["predictions"]
    return [[one["prediction"] for one in answers], [one["probabilities"]["small"] for one in answers], "mine"]


def test_triton_s_client_gets_what_rows_of_json_get(url, clone, tmp_path):
    python = make_environment(tmp_path, "tritonclient[http,grpc]")
    found = run(python, TRITON, url.partition("://")[2])
    wanted = answer_rows(url)
    assert found["answers"] == [wanted] * 6
    assert found["shapes"] == {"image": [-1, 4, 4]}
    assert found["digits"] == [1]
    assert "there is no pipeline 'size'" in found["error"]
    over_grpc = run(python, TRITON_GRPC, haproxy.claim_grpc(clone, is_up=True))
    assert over_grpc["answers"] == wanted
    assert over_grpc["shapes"] == found["shapes"]
    assert over_grpc["error"].startswith("StatusCode.NOT_FOUND there is no pipeline 'size'")


@pytest.mark.clients
def test_kserve_s_client_gets_what_rows_of_json_get(url, tmp_path):
    python = make_environment(tmp_path, "kserve")
    assert run(python, KSERVE, url) == [answer_rows(url)] * 2


def test_openai_s_client_reads_what_is_written_as_it_is_written(url, tmp_path):
    import httpx

    python = make_environment(tmp_path, "openai")
    found = run(python, OPENAI, url)
    body, headers = {"text": "a small"}, {"Accept": "text/event-stream"}
    with httpx.stream("POST", f"{url}/song/predict?max_tokens=8&temperature=0", json=body, headers=headers) as response:
        events = [json.loads(line.removeprefix("data: ")) for line in response.iter_lines() if line]
    assert found["texts"] == [events[-1]["prediction"]] * 4
    assert (found["models"], found["usage"], found["reasons"]) == (["song"], [8, 8], ["length", "length"])
    assert "did you mean 'song'" in found["error"]
    guide = Path(__file__).parents[2] / "docs" / "guides" / "serving.md"
    (shown,) = re.findall(r"tests/slow/test_clients.py runs it -->\n```sh\n(.*?)```", guide.read_text(), re.S)
    ran = subprocess.run(["bash", "-ec", shown.replace("http://127.0.0.1:8000", url)], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout.splitlines()[-2]) == (0, "data: [DONE]"), ran.stdout
    assert '"finish_reason":' in ran.stdout
    assert 'evergreen_first_piece_seconds_count{pipeline="song"' in httpx.get(f"{url}/metrics").text


def test_texts_are_written_beside_the_replica_and_none_is_lost_where_that_process_dies(clone, url):
    import httpx

    def write():
        return httpx.post(f"{url}/song/predict?temperature=0", json={"text": "a small"}, timeout=60).json()[
            "predictions"
        ]

    def writers():
        replica = psutil.Process(json.loads(ray_node.place(clone).read_text())["pid"]).children(recursive=True)
        return [one for one in replica if any("version_server" in word for word in one.cmdline())]

    wanted = write()  # starts the process, if no other test did
    while not any(one.net_connections("unix") for one in writers()):
        time.sleep(0.1)
    (writer,) = writers()
    writer.suspend()
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(write)
        time.sleep(0.5)
        writer.kill()
    assert answer.result() == wanted == write()


def test_a_table_of_many_rows_passes_the_front(url):
    import httpx
    import pyarrow as pa

    rows = pa.table({"age": [0.5, 0.25] * 50_000, "colour": ["red", "blue"] * 50_000})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    body = sink.getvalue().to_pybytes()
    parts = (body[start : start + 2**18] for start in range(0, len(body), 2**18))
    headers = {"Content-Type": "application/vnd.apache.arrow.stream"}
    response = httpx.post(f"{url}/sizes/predict", content=parts, headers=headers, timeout=120)
    assert (response.status_code, response.headers["x-model-version"]) == (200, "v1.0.0")
    answers = pa.ipc.open_stream(response.content).read_all()
    pair = httpx.post(f"{url}/sizes/predict", json={"rows": rows.slice(0, 2).to_pylist()}).json()["predictions"]
    assert answers["prediction"].to_pylist() == [one["prediction"] for one in pair] * 50_000
    figures = httpx.get(f"{url}/metrics").text
    assert 'evergreen_requests_total{pipeline="sizes",version="v1.0.0",role="production",status="200"' in figures


def make_certificate(folder: Path, name: str) -> tuple[str, str]:
    """Return the files of a certificate for 127.0.0.1 that signed itself, and of its key."""
    certificate, key = (str(folder / f"{name}.{kind}") for kind in ("pem", "key"))
    how = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}"]
    named = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run(["openssl", "req", *how, *named], check=True, capture_output=True)
    return certificate, key


def ask_over_grpc(address: str, secret: str, *certificates: str) -> tuple[str, str]:
    """Return the name of the model that is asked for with a key, and the code of the refusal without one."""
    import grpc

    from evergreen.stages.deploy.v2_messages import SERVICE, messages

    credentials = grpc.ssl_channel_credentials(*(Path(file).read_bytes() for file in certificates))
    with grpc.secure_channel(address, credentials) as channel:
        read = messages()["ModelMetadataResponse"].FromString
        method = channel.unary_unary(f"/{SERVICE}/ModelMetadata", lambda one: one.SerializeToString(), read)
        asked = messages()["ModelMetadataRequest"](name="sizes")
        name = method(asked, metadata=[("authorization", f"Bearer {secret}")], timeout=20).name
        with pytest.raises(grpc.RpcError) as refusal:
            method(asked, timeout=20)
    return name, refusal.value.code().name


def test_keys_and_tls_guard_an_endpoint_that_listens_everywhere(tmp_path, random_model):
    import socket
    import ssl

    import httpx

    from evergreen.core.errors import PipelineError
    from evergreen.stages.deploy import api_keys
    from evergreen.stages.engines import ray_cluster

    root = tmp_path / "clone"
    (root / "pipelines").mkdir(parents=True)
    (root / "dvc.yaml").touch()
    random_model("sizes", tmp_path / "sizes", 1)
    own, client = make_certificate(tmp_path, "server"), make_certificate(tmp_path, "client")
    listening.choose_host(root, "0.0.0.0", *own, client[0])
    secret = api_keys.add_key(root, "shop", rows_per_minute=3)
    try:
        made = deploy.deploy(
            root, {"sizes": {"version": "v1", "path": str(tmp_path / "sizes")}}, DeployConfig(grpc=True)
        )
        assert (made["host"], made["needs_key"]) == ("0.0.0.0", True)
        with pytest.raises(PipelineError, match="evergreen stop"):
            listening.choose_host(root, "127.0.0.1")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            outer = probe.getsockname()[0]
        with pytest.raises(httpx.ConnectError):
            httpx.get(made["url"].replace("127.0.0.1", outer))  # by TLS alone
        url, row = made["tls"].replace("0.0.0.0", outer), {"age": 0.5, "colour": "red"}
        local, trusted = {"Host": "127.0.0.1"}, ssl.create_default_context(cafile=own[0])
        trusted.check_hostname = False  # the certificate is for 127.0.0.1
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url}/livez", headers=local, verify=trusted)
        trusted.load_cert_chain(*client)
        address = made["tls"].replace("https://0.0.0.0", "127.0.0.1")
        assert ask_over_grpc(address, secret, own[0], client[1], client[0]) == ("sizes", "UNAUTHENTICATED")
        with httpx.Client(base_url=url, headers=local, verify=trusted) as http:
            assert http.post("/sizes/predict", json=row).status_code == 401
            asked = [http.post("/sizes/predict", json=row, headers={"X-API-Key": secret}) for _ in range(4)]
            assert [answer.status_code for answer in asked] == [200, 200, 200, 429]
            assert int(asked[-1].headers["retry-after"]) <= 20
            assert http.get("/sizes", headers={"X-API-Key": secret, "Host": outer}).status_code == 421
        port = int(httpx.get(f"{made['url']}/healthz").url.port or 0)
        assert port == int(made["url"].rpartition(":")[2])
    finally:
        ray_cluster.stop(root)
