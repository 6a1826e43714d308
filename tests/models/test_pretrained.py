"""Models that were trained elsewhere: tiny ones of random weights, saved as such models are."""

from __future__ import annotations

import importlib.util
import json
import types

import pytest
import torch

from evergreen.core.errors import ModelError
from evergreen.models.registry import build, buildable
from evergreen.models.training.config import TrainingConfig
from evergreen.models.training.feed import TensorFeed
from evergreen.models.training.trainer import Trainer

pytestmark = [
    pytest.mark.skipif(not importlib.util.find_spec("transformers"), reason="an extra"),
    pytest.mark.slow,  # the library takes seconds to import
]
SETTINGS = {
    "vocab_size": 20,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 12,
}
CLASSES = types.SimpleNamespace(kind="category", shape=(), sizes=(2,), state={"values": [["no", "yes"]]})


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    import transformers

    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(7)
    transformers.AutoModel.from_config(transformers.BertConfig(**SETTINGS)).save_pretrained(folder)
    return folder


@pytest.fixture
def inputs(source):
    state = {"source": str(source), "config": {"model_type": "bert", **SETTINGS}, "sizes": [21], "length": 8}
    return {"text": types.SimpleNamespace(kind="tokens", shape=(8,), sizes=(21,), state=state)}


def rows(count=16):
    random = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, 21, (count, 8), generator=random)
    tokens[::2, 5:] = 0
    tokens[::2, 0] = 2
    return {"text": tokens, "target": torch.arange(count) % 2}


def made(inputs, **options):
    torch.manual_seed(1)
    return build("pretrained", "classification", inputs, CLASSES, **options)


def start(network, batch, **recipe):
    return Trainer(network, TensorFeed(batch, 8), batch, TrainingConfig(**recipe))


@pytest.mark.slow
def test_only_what_names_its_source_calls_for_it(inputs):
    assert "pretrained" in buildable(inputs, "classification")
    text = types.SimpleNamespace(kind="text", shape=(8,), sizes=(21,), state={})
    assert "pretrained" not in buildable({"text": text}, "classification")
    image = types.SimpleNamespace(kind="image", shape=(3, 32, 32), sizes=(), state={})
    assert "pretrained" not in buildable({"image": image}, "classification")
    with pytest.raises(ModelError, match="names its source"):
        made({"image": image})
    image.state["config"] = {"model_type": "vit"}
    assert "pretrained" in buildable({"image": image}, "classification")


def test_its_weights_are_the_folders(inputs, source):
    import transformers

    network = made(inputs)
    batch = rows()
    start(network, batch, epochs=1)
    true = transformers.AutoModel.from_pretrained(source).eval()
    with torch.no_grad():
        x_BLD = true(input_ids=(batch["text"] - 1).clamp_min(0), attention_mask=(batch["text"] > 0).long())[0]
        features = network.eval().architecture(batch)
    torch.testing.assert_close(features[1], x_BLD[1].mean(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(features[0], x_BLD[0, :5].mean(0), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("train", "moves"),
    [
        ("frozen", ()),
        ("adapters", ("down", "up")),
        ("partly", ("encoder.layer.2.",)),
        ("whole", ("",)),
    ],
)
def test_what_learns_is_what_was_asked_for(inputs, train, moves):
    network = made(inputs, train=train, layers=1, rank=2)
    loop = start(network, rows(), epochs=2, batch_size=8, schedule="constant")
    before = {name: tensor.clone() for name, tensor in network.architecture.named_parameters()}
    loop.run()
    for name, tensor in network.architecture.named_parameters():
        assert torch.equal(tensor, before[name]) == (not any(part in name for part in moves)), name


def test_it_learns_eight_rows(inputs):
    batch = {name: column[:8] for name, column in rows().items()}
    loop = start(made(inputs, train="whole"), batch, epochs=30, learning_rate=3e-3, schedule="constant")
    loop.run()
    assert loop.history[-1]["validation_loss"] < 0.4 * loop.history[0]["validation_loss"]


def test_other_columns_stand_beside_it_in_every_form(inputs):
    number = types.SimpleNamespace(kind="number", shape=(3,), sizes=(), state={})
    network = made({**inputs, "number": number})
    batch = {**rows(), "number": torch.ones(16, 3)}
    assert network.architecture(batch).shape == (16, 19)
    network.architecture.layout = "sequence"
    assert network.architecture(batch).shape == (16, 8, 19)


def test_weights_that_are_not_there_are_a_mistake_that_is_told(inputs):
    inputs["text"].state["source"] = "/nowhere"
    with pytest.raises(ModelError, match="nowhere"):
        start(made(inputs), rows(), epochs=1)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"architecture": "resnet50", "num_classes": 1000}, "timm's resnet50"),
        ({"model_type": "bart9"}, "no model 'bart9'"),
    ],
)
def test_a_model_of_another_library_is_a_mistake_that_is_told(inputs, config, said):
    inputs["text"].state["config"] = config
    with pytest.raises(ModelError, match=said):
        made(inputs)


VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
SEEING = {
    "vit": VIT | {"image_size": 32, "patch_size": 8},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
    "convnext": {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 3, 1]},
    "clip": {"vision_config": VIT | {"image_size": 32, "patch_size": 8}, "text_config": SETTINGS},
}


def seeing(tmp_path, kind):
    import transformers

    """A model for images in a folder, and the inputs that it reads."""
    torch.manual_seed(7)
    config = transformers.AutoConfig.for_model(kind, **SEEING[kind])
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path)
    state = {"source": str(tmp_path), "config": {"model_type": kind, **SEEING[kind]}}
    return {"image": types.SimpleNamespace(kind="image", shape=(3, 32, 32), sizes=(), state=state)}


def pictures(count=8):
    drawn = torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return {"image": drawn, "target": torch.arange(count) % 2}


@pytest.mark.parametrize("kind", SEEING)
@pytest.mark.parametrize("train", ["frozen", "adapters", "partly", "whole"])
def test_models_that_see_start_from_their_folder_and_learn_what_was_asked_for(tmp_path, kind, train):
    import transformers

    network, batch = made(seeing(tmp_path, kind), train=train, layers=1, rank=2), pictures()
    body = network.architecture.body
    network.architecture.init_from_data([])
    own = {name: tensor.clone() for name, tensor in body.state_dict().items()}
    true = transformers.AutoModel.from_pretrained(tmp_path)
    held = getattr(true, "vision_model", true).state_dict()
    assert all(torch.equal(tensor, held[name]) for name, tensor in own.items() if not name.endswith((".down", ".up")))
    start(network, batch, epochs=2, batch_size=8, schedule="constant").run()
    moved = {name for name, tensor in body.state_dict().items() if not torch.equal(tensor, own[name])}
    last = {"vit": "layers.1.", "resnet": "encoder.stages.1.", "convnext": "encoder.stages.3.", "clip": "layers.1."}
    may = {"frozen": (), "adapters": (".down", ".up"), "partly": (last[kind],), "whole": ("",)}[train]
    assert all(any(part in name for part in may) for name in moved)
    assert bool(moved) == (train != "frozen")


def test_a_model_that_does_not_see_is_a_mistake_that_is_told(tmp_path):
    inputs = seeing(tmp_path, "vit")
    inputs["image"].shape = (3, 40, 40)
    with pytest.raises(ModelError, match="does not accept images of shape"):
        made(inputs)
    inputs["image"].state["config"] = {"model_type": "bert", **SETTINGS}
    with pytest.raises(ModelError):
        made(inputs)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_models_of_timm_start_from_their_folder(tmp_path, name):
    timm = pytest.importorskip("timm")
    torch.manual_seed(7)
    true = timm.create_model(name).eval()
    timm.models._hub.save_for_hf(true, str(tmp_path), safe_serialization=True)
    state = {"source": str(tmp_path), "config": json.loads((tmp_path / "config.json").read_text())}
    network = made({"image": types.SimpleNamespace(kind="image", shape=(3, 224, 224), sizes=(), state=state)}).eval()
    network.architecture.init_from_data([])
    batch = {"image": torch.randn(2, 3, 224, 224)}
    with torch.no_grad():
        states = true.forward_features(batch["image"])
        wanted = states.mean((2, 3)) if states.ndim == 4 else states.mean(1)
        torch.testing.assert_close(network.architecture(batch), wanted)
