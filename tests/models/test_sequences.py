"""What reads sequences: padding is not read, and a causal form never sees ahead."""

import pytest
import torch

from evergreen.models.architectures.lstm import LSTM
from evergreen.models.registry import find_architecture, list_architectures
from evergreen.stages.checking.sample_inputs import INPUTS, Field

READERS = ("gru", "lstm", "rnn", "tcn")


def made(name: str, inputs: dict[str, Field], **options):
    torch.manual_seed(0)
    return find_architecture(name)(inputs, **options).eval()


def longer(field: Field, length: int) -> Field:
    return Field(field.kind, (length, *field.shape[1:]), field.sizes, field.state)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", ["text", "audio"])
@pytest.mark.parametrize("layout", ["pooled", "sequence"])
def test_padding_changes_nothing(name, kind, layout, make):
    few, many = INPUTS[kind], longer(INPUTS[kind], 20)
    short, long = (made(name, {kind: few}, layout=layout), made(name, {kind: many}, layout=layout))
    if name == "tcn":  # the length decides how many blocks it has
        short = long
    long.load_state_dict(short.state_dict())
    x = make((kind,), "category", 8)[kind]
    padded = torch.cat([x, x.new_zeros(8, 20 - x.shape[1], *x.shape[2:])], 1)
    one, other = short({kind: x}), long({kind: padded})
    real = x[..., 0] != 0 if x.ndim == 3 else x != 0
    one, other = (one, other) if layout == "pooled" else (one[real], other[:, : x.shape[1]][real])
    torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["gru", "lstm", "rnn"])  # for a convolution, padding between is steps of nothing
def test_padding_between_two_texts_is_not_read(name, make):
    """A row whose first text is short is what it is beside any padding of that text."""
    first, second = make(("text",), "category", 8)["text"], make(("text",), "category", 8, seed=1)["text"]
    few, many = INPUTS["text"], longer(INPUTS["text"], 9)
    short, long = (made(name, {"a": field, "b": few}) for field in (few, many))
    long.load_state_dict(short.state_dict())
    padded = torch.cat([first, first.new_zeros(8, 3)], 1)
    one, other = short({"a": first, "b": second}), long({"a": padded, "b": second})
    torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", [name for name in list_architectures() if "causal" in find_architecture(name).LAYOUTS])
@pytest.mark.parametrize("kind", ["text", "series"])
def test_causal_features_never_see_ahead(name, kind, make):
    if kind not in find_architecture(name).ACCEPTS:
        pytest.skip(f"it reads no {kind}")
    network = made(name, {kind: longer(INPUTS[kind], 12)}, layout="causal")
    shape = (4, 12, *INPUTS[kind].shape[1:])
    x = torch.randint(4, 9, shape) if kind == "text" else torch.randn(shape)
    before = network({kind: x})
    for place in (1, 6, 11):
        changed = x.clone()
        changed[:, place] = changed[:, place] % 4 + 5 if kind == "text" else changed[:, place] + 1
        after = network({kind: changed})
        torch.testing.assert_close(after[:, :place], before[:, :place], atol=1e-6, rtol=0)
        assert not torch.allclose(after[:, place], before[:, place])


def test_the_last_step_sees_the_first(make):
    """Dilations double until they span the sequence."""
    network = made("tcn", {"series": longer(INPUTS["series"], 100)})
    x = torch.randn(4, 100, 2)
    changed = torch.cat([x[:, :1] + 1, x[:, 1:]], 1)
    assert not torch.allclose(network({"series": x}), network({"series": changed}), atol=0)


def test_weights_to_begin_with():
    network = made("lstm", {"series": INPUTS["series"]}, depth=2)
    assert isinstance(network, LSTM)
    for name, weight in network.cell.named_parameters():
        if name.startswith("weight_hh"):
            for gate in weight.chunk(4):
                torch.testing.assert_close(gate @ gate.T, torch.eye(len(gate)), atol=1e-5, rtol=0)
        if name.startswith("bias_hh"):
            assert weight.chunk(4)[1].eq(1).all()
