"""Networks that read and write text, and the metrics of what they write.

No step sees what comes after it, a cached step gives what reading anew gives, padding changes nothing, and one beam is
greedy.
"""

import math

import pytest
import torch

from evergreen.models.registry import build, buildable, find_architecture
from evergreen.models.text_generation import count_characters, decode_tokens, generate, sample_top_p
from evergreen.stages.checking.sample_inputs import INPUTS, TARGETS, Field

TEXT = INPUTS["text"]
CAUSAL = [name for name in buildable({"text": TEXT}, "language_modelling") if find_architecture(name).NEEDS_ONE_OF]


def made(name: str, task: str, target, inputs=None, **options):
    torch.manual_seed(1)
    return build(name, task, inputs or {"text": TEXT}, target, **options).eval()


def rows(count: int = 4, length: int = 6) -> torch.Tensor:
    return torch.randint(4, 9, (count, length), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", CAUSAL)
def test_no_step_sees_what_comes_after(name):
    network, tokens = made(name, "language_modelling", TEXT), rows()
    other = tokens.clone()
    other[:, 3] = 4 + (other[:, 3] - 3) % 5
    before, after = network({"text": tokens}), network({"text": other})
    torch.testing.assert_close(before[:, :4], after[:, :4])  # the logits of token 3 come from tokens 0 to 2
    assert not torch.allclose(before[:, 4:], after[:, 4:])


@pytest.mark.parametrize("runs", [1, 3])
def test_the_cache_gives_what_the_full_pass_gives(runs):
    decoder = made("decoder", "language_modelling", TEXT, runs=runs).architecture
    tokens = rows()
    whole = decoder({"text": tokens})
    first, cache = decoder.begin({"text": tokens[:, :2]}, 4)
    torch.testing.assert_close(first, whole[:, :2])
    for place in range(2, 6):
        recent = torch.nn.functional.pad(tokens, (runs, 0))[:, place + 1 : place + 1 + runs]
        found = decoder.extend({"text": recent}, torch.full((4,), place), cache)
        torch.testing.assert_close(found, whole[:, place])


@pytest.mark.parametrize("name", CAUSAL)
def test_texts_of_different_lengths_are_written_on_as_each_alone(name):
    network, tokens = made(name, "language_modelling", TEXT, task_options={"length": 3}), rows()
    tokens[1, 2:], tokens[2, 1:] = 0, 0
    together = network.predict({"text": tokens})
    assert together == [network.predict({"text": row[None]})[0] for row in tokens]


def test_what_is_kept_writes_what_is_read_anew():
    network, tokens = made("decoder", "language_modelling", TEXT), rows()
    tokens[1, 2:] = 0
    kept = generate(network, {"text": tokens}, "text", 3, network.task._draw)
    network.architecture.__class__ = type("Anew", (type(network.architecture),), {"__getattribute__": _no_extend})
    assert torch.equal(generate(network, {"text": tokens}, "text", 3, network.task._draw), kept)


def _no_extend(self, name: str):
    if name == "extend":
        raise AttributeError(name)
    return super(type(self), self).__getattribute__(name)


def test_tokens_are_drawn_from_the_nucleus_alone():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    drawn = [int(sample_top_p(logits, number, 1.0, 0.75)) for number in (0.0, 0.62, 0.63, 0.99)]
    assert drawn == [0, 0, 1, 1]  # the two hold 0.8 of the probability, and the first 5/8 of that
    assert int(sample_top_p(logits, 0.99, 0, 1.0)) == 0


@pytest.mark.parametrize("task", ["classification", "tagging"])
@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_padding_changes_nothing(name, task):
    target = TARGETS["category" if task == "classification" else "tags"]
    network, tokens = made(name, task, target), rows()
    tokens[:, 4:] = 0
    first = network({"text": tokens})
    with torch.no_grad():
        network.architecture.steps.readers["text"].weight[0] += 1
    again = network({"text": tokens})
    torch.testing.assert_close(*((first, again) if task == "classification" else (first[:, :4], again[:, :4])))


@pytest.mark.parametrize("writer", ["gru", "transformer"])
def test_translation_does_not_see_padding_and_one_beam_is_greedy(writer):
    longer = Field("text", (9,), TEXT.sizes, TEXT.state)
    network = made("seq2seq", "translation", TARGETS["text"], writer=writer)
    seq2seq, tokens = network.architecture, rows()
    tokens[1, 3:] = 0
    memory, state = seq2seq.writer.read(*seq2seq.steps({"text": tokens}))
    greedy = seq2seq.greedy(memory, state)
    assert torch.equal(seq2seq.search(memory, state, 1), greedy)
    assert (greedy[:, 0] > 2).all()
    if writer == "gru":  # places of a Transformer are of one length
        wide = made("seq2seq", "translation", TARGETS["text"], {"text": longer})
        wide.load_state_dict(network.state_dict())
        assert torch.equal(wide({"text": torch.nn.functional.pad(tokens, (0, 3))}), greedy)


def test_beams_find_what_is_likelier_than_the_greedy():
    seq2seq = made("seq2seq", "translation", TARGETS["text"]).architecture
    seq2seq.head.weight.data *= 20
    memory, state = seq2seq.writer.read(*seq2seq.steps({"text": rows(16)}))

    def likelihood(written):
        begun = torch.nn.functional.pad(written, (1, 0), value=2)[:, :-1]
        scores = seq2seq.head(seq2seq.writer.all(seq2seq.words(begun), memory, state))
        scores[..., :3] = -torch.inf  # never said
        said = scores.log_softmax(2).gather(2, written[..., None])[..., 0].nan_to_num(0, 0, 0)
        return said.sum(1) / (written > 0).sum(1)

    with torch.no_grad():
        assert likelihood(seq2seq.search(memory, state, 4)).mean() > likelihood(seq2seq.greedy(memory, state)).mean()


def test_bits_per_character_of_even_odds():
    task = made("decoder", "language_modelling", TEXT).task
    target = rows()
    target[0, 3:] = torch.tensor([3, 0, 0])  # three letters and an end
    output = torch.zeros(4, 6, 9)
    facts = task.metric_inputs(output, target)
    assert facts[1].tolist() == [[3, 4], [6, 6], [6, 6], [6, 6]]
    assert task.metrics(*facts)["bits_per_token"] == pytest.approx(math.log2(9))
    assert task.metrics(*facts)["bits_per_character"] == pytest.approx(math.log2(9) * 22 / 21)
    assert [count_characters("word", "word"), count_characters("bpe", "Ã¼"), count_characters("character", "ü")] == [
        5,
        1,
        1,
    ]


def test_pieces_have_no_end():
    torch.manual_seed(0)
    task = build("decoder", "language_modelling", {"text": TEXT}, TEXT, {"pieces": True}).task
    target, output = rows(), torch.randn(4, 6, 9)
    whole = task.loss(output[:, :3], target[:, :3])
    target[:, 3:] = torch.tensor([3, 0, 0])  # three letters and an end
    assert task.loss(output, target) == whole
    assert task.metric_inputs(output, target)[1].tolist() == [[3, 3]] * 4
    logits = torch.zeros(1, 9)
    logits[0, 3] = 9.0
    assert task._draw(logits, 0.0) != 3


def test_pairs_of_letters_are_a_better_guess_than_letters():
    task = made("decoder", "language_modelling", TEXT).task
    tokens = torch.tensor([[4, 5, 6, 4, 5, 6]] * 3)
    batch = {"text": tokens, "target": tokens}
    assert task.metrics(*task.metric_inputs(task.baseline(batch, batch), tokens))["bits_per_token"] < 1


def test_entities_are_right_as_a_whole_alone():
    task = made("encoder", "tagging", TARGETS["tags"]).task
    out, begin, inside = range(3)
    target = torch.tensor([[begin, inside, out, begin, begin, -100], [out, inside, inside, out, begin, inside]])
    said = torch.tensor([[begin, inside, inside, begin, begin, begin], [out, begin, inside, out, begin, out]])
    facts = task.metric_inputs(torch.nn.functional.one_hot(said, 3).float(), target)
    assert facts[0][:, 0].tolist() == [[2, 3, 3], [1, 2, 2]]  # right, said, there
    assert task.metrics(*facts)["f1"] == pytest.approx(2 * 3 / 10)
    sure = math.log(math.e + 2)  # of logits 1, 0, 0
    assert task.row_scores(*facts).tolist() == pytest.approx([sure - 4 / 5, sure - 4 / 6])
    assert task.metrics(*facts)["log_loss"] == pytest.approx(sure - 8 / 11)
    assert task.metrics(*facts)["accuracy"] == pytest.approx(8 / 11)


def test_the_commonest_tag_of_each_word_is_the_baseline():
    task = made("encoder", "tagging", TARGETS["tags"]).task
    train = {"text": torch.tensor([[4, 5, 4, 0, 0, 0]]), "target": torch.tensor([[1, 0, 1, -100, -100, -100]])}
    said = task.baseline(train, {"text": torch.tensor([[5, 4, 8, 0, 0, 0]])}).argmax(2)
    assert said[0, :3].tolist() == [0, 1, 1]


def test_answers_hold_a_tag_for_each_word():
    network, tokens = made("encoder", "tagging", TARGETS["tags"]), rows()
    tokens[1, 2:] = 0
    assert [len(answer["prediction"]) for answer in network.predict({"text": tokens})] == [6, 2, 6, 6]


def test_chrf_of_what_is_right_wrong_and_half_right():
    task = made("seq2seq", "translation", TARGETS["text"]).task
    true = torch.tensor([[4, 5, 6, 3, 0]])
    half = torch.tensor([[4, 5, 8, 3, 0]])  # ab of abc: runs of one 2/3, of two 1/2, of three none
    scores = [task.metrics(*task.metric_inputs(said, true)) for said in (true, half, torch.full_like(true, 7))]
    assert [round(score["chrf"], 4) for score in scores] == [1.0, round((2 / 3 + 1 / 2) / 3, 4), 0.0]
    assert [score["exact_match"] for score in scores] == [1, 0, 0]


def test_text_is_written_as_the_data_are():
    from evergreen.data.kinds import _tokenize as units

    tokens = ["a", "plain", "(", "old", ")", "twenty", "-", "two", "and", "/", "or", "not", "."]
    for unit in units.UNITS:
        state = {"values": [tokens], "unit": unit}
        assert decode_tokens(state, [*range(4, 4 + len(tokens)), 3, 0]) == units.detokenize(unit, tokens)
    assert units.detokenize("word", tokens) == "a plain (old) twenty-two and/or not."
    assert units.detokenize("word", []) == ""


@pytest.mark.slow
def test_pretraining_learns_from_the_training_rows_and_changes_the_weights():
    tokens = rows(8)
    encoder = made("encoder", "classification", TARGETS["category"], pretrain=3).architecture
    before = encoder.steps.readers["text"].weight.clone()
    encoder.init_from_data([{"text": tokens[:4]}, {"text": tokens[4:]}])
    assert not torch.equal(encoder.steps.readers["text"].weight, before)
    assert all(parameter.grad is None for parameter in encoder.parameters())
