"""The sampler on both families of models: as the learner says, as often as the softmax says."""

import pytest
import torch
from scipy import stats
from tiny_language_models import CONTEXT, END, SHAPES, SO, WORDS, falcon, language_model, tokenizer

from actde_nb.finetune.models import Cache, LanguageModel
from actde_nb.finetune.sampling import learner, pad_left, positions, sample, uniforms

PROMPTS = [(5, 6, 7), (5,), (8, 9), (5, 6)] * 4


@pytest.fixture(params=SHAPES)
def model(request) -> LanguageModel:
    return language_model(request.param)


def drawn(model: LanguageModel, steps: int = 8, likeliest: bool = False, seed: int = 0):
    tokens, seen = pad_left(PROMPTS, model.padding)
    return sample(model, tokens, seen, uniforms(seed, 0, len(PROMPTS), steps), likeliest=likeliest)


@torch.no_grad()
def test_the_learner_says_what_the_sampler_said(model):
    found = drawn(model)
    said = learner(model, found.tokens, found.seen, found.mask.shape[1])
    log_probs = said.logits.log_softmax(-1).gather(-1, found.tokens[:, -found.mask.shape[1] :, None])[..., 0]
    assert (log_probs - found.log_probs)[found.mask].abs().max() <= 1e-5
    assert (said.states - found.states)[found.mask].abs().max() <= 1e-5


@torch.no_grad()
def test_padding_on_the_left_changes_nothing(model):
    """A short prompt beside a long one says what it says alone."""
    tokens, seen = pad_left([(5, 6, 7, 8), (9,)], model.padding)
    assert tokens.tolist() == [[5, 6, 7, 8], [0, 0, 0, 9]]
    assert seen.tolist() == [[True] * 4, [False] * 3 + [True]]
    assert positions(seen).tolist() == [[0, 1, 2, 3], [0, 0, 0, 0]]
    beside = model.read(tokens, seen, positions(seen), 1).logits[1]
    alone = model.module(torch.tensor([[9]])).logits[0]
    assert (beside - alone).abs().max() <= 1e-5


def test_a_completion_ends_with_its_first_end(model):
    found = drawn(model)
    ended = 0
    for tokens, mask in zip(found.tokens[:, 3:], found.mask, strict=True):
        counted = tokens[mask].tolist()
        ended += counted[-1] == END
        assert mask.tolist() == [True] * len(counted) + [False] * (len(mask) - len(counted))
        assert END not in counted[:-1]
        assert counted[-1] == END or len(counted) == 8
        assert (tokens[~mask] == model.padding).all()
    assert 0 < ended < len(PROMPTS)


def test_all_ends_count():
    """Those of the model's settings beside the tokenizer's; one that the tokenizer has not got is another model's."""
    module = SHAPES["llama"](eos_token_id=[3, END, 50256])
    model = LanguageModel(module, tokenizer(), "all")
    assert model.ends == (END, 3)
    last = {
        tokens[mask].tolist()[-1] for tokens, mask in zip(drawn(model).tokens[:, 3:], drawn(model).mask, strict=True)
    }
    assert {END, 3} <= last


def test_padding_may_be_the_end(model):
    """The mask is made of lengths and not by looking for a padding token: the end counts, once."""
    model.padding = END
    same = drawn(model)
    model.padding = 0
    assert torch.equal(same.mask, drawn(model).mask)


def test_sampled_as_often_as_the_softmax_says(model):
    many = 4000
    tokens = torch.tensor([[5, 6]]).expand(many, -1)
    found = sample(model, tokens, torch.ones_like(tokens, dtype=torch.bool), uniforms(1, 0, many, 1))
    with torch.no_grad():
        expected = many * model.module(tokens[:1]).logits[0, -1].double().softmax(-1)
    counts = found.tokens[:, -1].bincount(minlength=len(WORDS)).double()
    assert expected.min() > 5
    assert stats.chisquare(counts.numpy(), expected.numpy()).pvalue > 1e-3


def test_a_temperature_is_for_the_draw_alone(model):
    many = 2000
    tokens, draws = torch.tensor([[5, 6]]).expand(many, -1), uniforms(1, 0, many, 1)
    found = sample(model, tokens, torch.ones_like(tokens, dtype=torch.bool), draws, temperature=0.5)
    with torch.no_grad():
        logits = model.module(tokens[:1]).logits[0, -1].double()
    counts = found.tokens[:, -1].bincount(minlength=len(WORDS)).double()
    sharp = many * (logits / 0.5).softmax(-1)
    assert ((counts - sharp) ** 2 / sharp).sum() < stats.chi2.ppf(0.999, len(WORDS) - 1)
    assert torch.allclose(found.log_probs[:, 0].double(), logits.log_softmax(-1)[found.tokens[:, -1]], atol=1e-5)


def test_a_row_draws_the_same_whatever_stands_beside_it(model):
    tokens, seen = pad_left([(5, 6, 7), (9,)], model.padding)
    two = sample(model, tokens, seen, uniforms(3, 2, 2, 6))
    one = sample(model, tokens[:1], seen[:1], uniforms(3, 2, 1, 6))
    steps = one.mask.shape[1]
    assert torch.equal(two.tokens[:1, : 3 + steps][one.seen], one.tokens[one.seen])
    assert not torch.equal(uniforms(3, 2, 2, 6), uniforms(3, 1, 2, 6))


@pytest.mark.parametrize("shape", SHAPES)
def test_tokens_without_a_word_are_ruled_out(shape):
    """Twenty rows of the head are beyond the tokenizer: never drawn, not even by the last number, and without a
    share in the learner's softmax."""
    model = language_model(shape, vocabulary=len(WORDS) + 20)
    draws = uniforms(0, 0, 16, 8)
    draws[0] = torch.nextafter(torch.tensor(1.0, dtype=torch.double), torch.tensor(0.0, dtype=torch.double))
    tokens, seen = pad_left(PROMPTS, model.padding)
    found = sample(model, tokens, seen, draws)
    assert found.tokens.max() < len(WORDS)
    with torch.no_grad():
        said = learner(model, found.tokens, found.seen, found.mask.shape[1])
    shares = said.logits.softmax(-1)[..., : len(WORDS)].sum(-1)
    assert torch.allclose(shares, torch.ones_like(shares))


@torch.no_grad()
def test_after_the_likeliest_tokens(model):
    """All at once over the kept keys and values, as by reading each beginning with its other token."""
    found = drawn(model, likeliest=True)
    start = found.tokens.shape[1] - found.mask.shape[1]
    for step in range(found.mask.shape[1]):
        others = torch.cat([found.tokens[:, : start + step], found.likeliest.tokens[:, step, None]], 1)
        seen = torch.cat([found.seen[:, : start + step], torch.ones_like(found.seen[:, :1])], 1)
        wanted = model.read(others, seen, positions(seen), 1).states[:, 0]
        here = found.mask[:, step]
        assert (found.likeliest.states[:, step] - wanted)[here].abs().max() <= 1e-5
    best = learner(model, found.tokens, found.seen, found.mask.shape[1]).logits.argmax(-1)
    assert torch.equal(best[found.mask], found.likeliest.tokens[found.mask])


def test_nothing_is_dropped_out(model):
    """Both families have dropout of 0.1 here; what is said twice is the same."""
    model = language_model("gpt2", resid_pdrop=0.5, attn_pdrop=0.5, embd_pdrop=0.5)
    once, again = drawn(model), drawn(model)
    assert torch.equal(once.log_probs, again.log_probs)
    assert not model.module.training


def test_the_context_is_used_up_to_its_last_place(model):
    tokens, seen = pad_left([(5,) * 10], model.padding)
    assert sample(model, tokens, seen, torch.full((1, CONTEXT - 10), 0.3), likeliest=True).tokens.shape[1] <= CONTEXT
    assert len(WORDS) > SO


@pytest.mark.parametrize("shape", [*SHAPES, "falcon"])  # blocks of Falcon answer in tuples
def test_blocks_that_stand_still_read_once(shape):
    """From what they said while drawing the learner says the same, and has the same gradients, without asking them."""
    model = LanguageModel((SHAPES | {"falcon": falcon})[shape](), tokenizer(), "last:1")
    found = drawn(model)
    assert found.trunk.shape == (*found.tokens[:, :-1].shape, 32)
    said = []
    for stored in (None, found.trunk):
        if stored is not None:
            for parameter in model._trunk[0].parameters():
                parameter.data.fill_(torch.nan)
        logits = learner(model, found.tokens, found.seen, found.mask.shape[1], trunk=stored).logits
        (logits.log_softmax(-1)[..., SO] * found.mask).sum().backward()
        said.append((logits.detach(), {name: parameter.grad for name, parameter in model.learned.items()}))
        model.module.zero_grad()
    (whole, wanted), (from_stored, gradients) = said
    assert (from_stored - whole)[found.mask].abs().max() <= 1e-5
    for name, gradient in wanted.items():
        assert torch.allclose(gradients[name], gradient, rtol=1e-4, atol=1e-5)
    assert max(gradient.abs().max() for gradient in wanted.values()) > 0.1


def test_whatever_all_learns_from_reads_all():
    assert drawn(language_model("llama", "all")).trunk is None


def test_what_was_read_before_need_not_be_read_again(model):
    found, (tokens, seen) = drawn(model), pad_left(PROMPTS, model.padding)
    cache = Cache(config=model.module.config)
    with torch.no_grad():
        model.read(tokens[:, :2], seen[:, :2], positions(seen[:, :2]), 1, cache)
    again = sample(model, tokens, seen, uniforms(0, 0, len(PROMPTS), 8), cache=cache)
    assert torch.equal(again.tokens, found.tokens)
    assert (again.log_probs - found.log_probs).abs().max() <= 1e-5
