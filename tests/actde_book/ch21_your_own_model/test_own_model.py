"""Three pitfalls, each against another way to compute what it does, and the tiny model they are measured on."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import torch

pytest.importorskip("peft", reason="needs the extra finetune")

from actde_book.ch21_your_own_model import figures, pitfalls, tiny  # noqa: E402 (after the check that it is there)

from actde_nb.checks import SettingError  # noqa: E402
from actde_nb.finetune import models  # noqa: E402
from actde_nb.finetune.loop import distinct  # noqa: E402
from actde_nb.finetune.sampling import uniforms  # noqa: E402
from actde_nb.paths import ROOT  # noqa: E402

TEXTS = ["tea was", "so very very warm and sweet tea was", "the soup was"] * 4


@pytest.fixture(scope="module", params=tiny.NETWORKS)
def model(request, tmp_path_factory) -> models.LanguageModel:
    return models.load(str(tiny.make(tmp_path_factory.mktemp("own"), request.param, seed=1)), "all")


def test_a_tiny_model_is_a_function_of_its_seed(tmp_path):
    state = torch.get_rng_state()
    made = [models.load(str(tiny.make(tmp_path / str(n), seed=seed)), "all") for n, seed in enumerate((3, 3, 4))]
    assert torch.equal(torch.get_rng_state(), state), "the global stream is put back"
    first, again, other = (each.module.get_input_embeddings().weight for each in made)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert made[0].words == len(tiny.WORDS)
    assert made[0].encode("the soup was") == (2, 3, 6)
    with pytest.raises(SettingError, match="network = 'bert'"):
        tiny.make(tmp_path, "bert")


def test_without_the_extra_the_page_says_in_one_line_what_to_install():
    code = "import sys; sys.modules['peft'] = None; import actde_book.ch21_your_own_model.tiny"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    told = done.stderr.strip().splitlines()[-1]
    assert told.endswith('BookError: this page needs peft: pip install "actde-nb[finetune]"')


def test_words_are_drawn_from_the_whole_softmax_with_the_log_probabilities_that_the_learner_has(model):
    drawn = pitfalls.draw(model, TEXTS, uniforms(0, 0, len(TEXTS), 8))
    torch.testing.assert_close(pitfalls.learned(model, drawn), drawn.log_probs, atol=1e-5, rtol=0)
    assert drawn.padding.tolist() == [6, 0, 5] * 4
    ends = (drawn.tokens[:, -8:] == model.ends[0]) & drawn.mask
    assert ends.sum(-1).max() == 1
    after = torch.cumsum(ends, -1) - ends.long() > 0
    assert not drawn.mask[after].any(), "what comes after the end does not count"
    assert not (drawn.log_probs[~drawn.mask] != 0).any()
    endless = pitfalls.draw(model, TEXTS, uniforms(0, 0, len(TEXTS), 8), ending=False)
    assert endless.mask.all()
    assert not torch.isin(endless.tokens[:, -8:], torch.tensor(model.ends)).any()


@pytest.mark.parametrize("kept", [2, 5])
def test_the_ratio_of_a_truncated_draw_is_the_probability_kept(model, kept: int):
    drawn = pitfalls.draw(model, TEXTS, uniforms(0, 1, len(TEXTS), 6), kept=kept)
    ratio = (pitfalls.learned(model, drawn) - drawn.log_probs).exp()
    for row, (text, mask) in enumerate(zip(TEXTS, drawn.mask, strict=True)):
        # One sequence at a time, unpadded, by the module itself.
        start, steps = len(model.encode(text)), int(mask.sum())
        said = drawn.tokens[row][drawn.seen[row]]
        logits = model.module(said[None]).logits[0, start - 1 : start - 1 + steps]
        mass = logits.double().softmax(-1).topk(kept).values.sum(-1)
        torch.testing.assert_close(ratio[row, :steps], mass, atol=1e-5, rtol=0)


def test_a_temperature_is_that_of_the_distribution_drawn_from(model):
    drawn = pitfalls.draw(model, ["tea was"], uniforms(0, 2, 1, 1), temperature=0.5)
    policy = model.module(torch.tensor([model.encode("tea was")])).logits[0, -1].double().softmax(-1)
    squared = policy**2 / (policy**2).sum()  # at temperature 1/2
    torch.testing.assert_close(drawn.log_probs[0, 0].exp(), squared[drawn.tokens[0, -1]], atol=1e-6, rtol=0)


def test_words_come_as_often_as_they_are_likely(model):
    count = 4000
    drawn = pitfalls.draw(model, ["tea was"] * count, uniforms(0, 3, count, 1), kept=4)
    policy = model.module(torch.tensor([model.encode("tea was")])).logits[0, -1].double().softmax(-1)
    best = policy.topk(4)
    expected = best.values / best.values.sum()
    said = (drawn.tokens[:, -1:] == best.indices).double().mean(0)
    assert (said.sum() - 1).abs() < 1e-12, "no other word"
    assert ((said - expected).abs() < 5 * (expected / count).sqrt()).all()


def test_padding_without_positions_is_reading_elsewhere(tmp_path):
    """GPT-2 without positions says of a padded prompt what it says of a prompt that begins later."""
    model = models.load(str(tiny.make(tmp_path, "gpt2", seed=1)), "all")
    drawn = pitfalls.draw(model, TEXTS, uniforms(0, 0, len(TEXTS), 6))
    read, seen = drawn.tokens[:, :-1], drawn.seen[:, :-1]
    with torch.no_grad():
        logits = model.module(read, attention_mask=seen.long()).logits[:, -6:].log_softmax(-1)
    wrong = logits.gather(-1, drawn.tokens[:, -6:, None])[..., 0]
    for row, pads in enumerate(drawn.padding.tolist()):
        alone = read[row, pads:][None]
        later = torch.arange(pads, pads + alone.shape[1])[None]
        with torch.no_grad():
            moved = model.module(alone, position_ids=later).logits[0, -6:].log_softmax(-1)
        expected = moved.gather(-1, drawn.tokens[row, -6:, None])[:, 0]
        counted = drawn.mask[row]
        torch.testing.assert_close(wrong[row][counted], expected[counted], atol=1e-5, rtol=0)
    apart = pitfalls.by_padding(wrong - drawn.log_probs, drawn)
    assert list(apart) == [0, 5, 6]
    assert apart[0] < 1e-5 < 0.1 < min(apart[5], apart[6])


def test_gradients_of_sums_add_up_to_that_of_the_mean_over_tokens(model):
    steps = 5
    drawn = pitfalls.draw(model, TEXTS, uniforms(0, 4, len(TEXTS), steps), ending=False)
    chance = np.random.default_rng(0)
    advantages = torch.from_numpy(chance.standard_normal(len(TEXTS))).float()
    lengths = torch.from_numpy(chance.integers(1, steps + 1, len(TEXTS)))
    found = pitfalls.gradients(model, drawn, advantages, lengths)
    # All at once, with the positions that count.
    seen = drawn.seen[:, :-1].long()
    places = (seen.cumsum(-1) - 1).clamp(min=0)
    logits = model.module(drawn.tokens[:, :-1], attention_mask=seen, position_ids=places).logits[:, -steps:]
    taken = logits.log_softmax(-1).gather(-1, drawn.tokens[:, -steps:, None])[..., 0]
    counted = torch.arange(steps) < lengths[:, None]
    loss = -(advantages[:, None] * taken)[counted].mean()
    whole = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.learned.values()))])
    torch.testing.assert_close(found.sum(0) / lengths.sum(), whole, atol=1e-5, rtol=1e-4)


def test_figures_show_what_they_are_given():
    chance = np.random.default_rng(0)
    drawn = figures.padding({"a": {0: 0.0, 3: 1.0}, "b": {0: 1e-7, 3: 1e-7}}, 0.2)
    first, second, line = drawn.axes[0].lines
    assert first.get_ydata() == pytest.approx([1e-8, 1.0]), "zero has no place on a logarithmic axis"
    assert line.get_ydata()[0] == pytest.approx(np.log(1.2))
    drawn = figures.ratios({"x": np.array([0.5, 1.5]), "y": np.ones(2)}, 0.2)
    means = [line for line in drawn.axes[0].lines if line.get_markersize() == 11]
    assert [line.get_xdata()[0] for line in means] == [1.0, 1.0]
    errors = {2: np.zeros((3, 4)), 4: chance.random((3, 4))}
    drawn = figures.local_means([0, 0.1, 0.2], errors, 16)
    assert [text.get_text() for text in drawn.axes[0].get_legend().get_texts()] == ["2 ranks of 8", "4 ranks of 4"]
    assert isinstance(drawn, matplotlib.figure.Figure)


def test_distinct_2_is_what_the_page_calls_it():
    # a b, b a, a b: two different ones of three.
    assert distinct([[1, 2, 1, 2]], 2) == pytest.approx(2 / 3)
