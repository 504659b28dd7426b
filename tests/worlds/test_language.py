"""All completions of a prompt, as a tree and as a world."""

import dataclasses

import pytest
import torch
from actde_book.ch14_sharpness.adjacent_word_rewards import pays_for

from actde_nb.worlds import World
from actde_nb.worlds.grammar import END, START, Grammar
from actde_nb.worlds.language import MEASURES, Language
from actde_nb.worlds.rewards import Scorer, learn_rewards
from actde_nb.worlds.tree import grow
from actde_nb.worlds.wedding import wedding

TOY = Grammar(
    (".", "a", "b"),
    {
        START: {"a": (1.0, "after")},
        "after": {"a": (0.5, "stop"), "b": (0.3, "more"), ".": (0.2, END)},
        "more": {"b": (2 / 3, "stop"), ".": (1 / 3, END)},
        "stop": {".": (1.0, END)},
    },
    longest=4,
)
GRAMMAR = wedding()
WORLD = Language(GRAMMAR)
SCORER = WORLD.scorer


def taught():
    return learn_rewards(SCORER, WORLD.tree, [torch.Generator().manual_seed(0)], pairs=50, steps=3)[0]


def rows(*texts, time=16):
    return torch.stack([torch.nn.functional.pad(GRAMMAR.encode(text), (0, time))[:time] for text in texts])


def test_a_small_tree_node_by_node():
    # Level 1 after "a": ".", "a", "b". Level 2: "a .", then "b .", "b b". Level 3: "b b .".
    tree = grow(TOY, "a")
    stop, a, b = 2, 3, 4
    assert tree.parent.tolist() == [0, 0, 0, 0, 2, 3, 3, 6]
    assert tree.token.tolist() == [a, stop, a, b, stop, stop, b, stop]
    assert [(level.start, level.stop) for level in tree.levels] == [(0, 1), (1, 4), (4, 7), (7, 8)]
    assert tree.leaves.tolist() == [1, 4, 5, 7]
    assert tree.inner.tolist() == [0, 2, 3, 6]
    assert [TOY.decode(row) for row in tree.sentences] == ["a.", "a a.", "a b.", "a b b."]


def test_sums_over_children_and_over_sentences_by_hand():
    tree = grow(TOY, "a")
    edges = torch.tensor([1, 0.2, 0.5, 0.3, 1, 1 / 3, 2 / 3, 1], dtype=torch.float64).log()
    ends = torch.tensor([1.0, 2.0, 3.0, 6.0], dtype=torch.float64)
    # After "a b": 3/3 + 2*6/3 = 5. In all: .2*1 + .5*2 + .3*5 = 2.7.
    expected = torch.tensor([2.7, 1, 2, 5, 2, 3, 6, 6], dtype=torch.float64)
    torch.testing.assert_close(tree.up(ends, edges), expected)
    torch.testing.assert_close(tree.log_up(ends.log(), edges), expected.log())
    down = tree.down(edges).exp()[tree.leaves]
    torch.testing.assert_close(down, torch.tensor([0.2, 0.5, 0.1, 0.2], dtype=torch.float64))


def test_nothing_overflows_in_logarithms():
    tree = grow(TOY, "a")
    ends = torch.full((4,), 2_000.0, dtype=torch.float64)
    edges = torch.zeros(8, dtype=torch.float64)
    assert tree.log_up(ends, edges)[0].item() == pytest.approx(2_000 + torch.tensor(4.0).log().item())


def test_the_tree_holds_each_completion_once():
    tree = WORLD.tree
    assert (len(tree.leaves), len(tree.inner)) == (25_872, 28_548)
    assert len({GRAMMAR.decode(row) for row in tree.sentences}) == 25_872
    assert WORLD.words == 11


def test_chances_along_the_tree_are_those_of_the_sentences():
    tree = WORLD.tree
    along = tree.down(GRAMMAR.chances[tree.state[tree.parent], tree.token].log())[tree.leaves]
    prompt = torch.tensor(0.3 * 0.35, dtype=torch.float64).log()  # of We, then had
    torch.testing.assert_close(along + prompt, GRAMMAR.log_probs(tree.sentences), atol=1e-12, rtol=0)
    assert along.exp().sum().item() == pytest.approx(1, abs=1e-9)
    state = GRAMMAR.read(tree.prompt)[-1]
    assert -(along.exp() @ along).item() == pytest.approx(GRAMMAR.entropy[state].item(), abs=1e-9)


def test_the_book_has_the_language_that_it_was_written_with():
    assert WORLD.identity == "Language('We had a', 7e5c9c8a4c77299c)"


def test_it_is_a_world():
    assert isinstance(WORLD, World)
    prompt = WORLD.start(torch.rand(2, 3))
    assert prompt.shape == (2, 3, 4)
    assert GRAMMAR.decode(prompt[1, 2]) == "We had a"


def test_a_reward_comes_with_the_last_word():
    tokens = rows(
        "We had a party. very very", "We had a lovely party and it was good.", "We had a a a a a a a a a a a a"
    )
    rewards, mask = WORLD.rewards(tokens[None])[0], WORLD.mask(tokens[None])[0]
    assert mask.sum(1).tolist() == [2, 7, 12]
    # Praise .6 earns sigmoid(2(.6 - .8)) = sigmoid(-.4); .8 + .6 + .5 = 1.9 earns sigmoid(2.2); the third is none.
    expected = torch.zeros(3, 12, dtype=torch.float64)
    expected[0, 1], expected[1, 6] = torch.tensor(-0.4).sigmoid(), torch.tensor(2.2).sigmoid()
    torch.testing.assert_close(rewards, expected, atol=1e-6, rtol=0)


def test_statistics_are_of_sentences():
    tokens = rows("We had a party.", "We had a party. a a", "We had a party jackpot.", "We had a jackpot jackpot.")[
        None
    ]
    seen = WORLD.statistics(tokens, torch.zeros(1, 4, 12, 49), torch.zeros(1, 4, 12, 49))["sentence"]
    named = dict(zip(MEASURES, seen[0].tolist(), strict=True))
    gold = [torch.tensor(-0.4).sigmoid()] * 2 + [torch.tensor(-2.4).sigmoid(), torch.tensor(0.0)]
    assert named["gold"] == pytest.approx(torch.stack(gold).mean().item(), abs=1e-6) == named["reward"]
    assert named["honeypots"] == 3 / 4
    assert named["grammatical"] == named["distinct"] == 3 / 4
    assert named["length"] == (2 + 2 + 3 + 3) / 4


def test_legal_words_are_those_of_the_grammar():
    legal = WORLD.legal(rows("We had a very very", time=6))
    words = {GRAMMAR.vocabulary[i] for i in legal[0, -1].nonzero()[:, 0]}
    assert words == {"wonderful", "lovely", "fun", "nice", "big", "quiet", "dull", "awful"}
    whole = WORLD.legal(rows("We had a party."))[0, -1]
    assert whole.nonzero().tolist() == [[0]]


def test_a_world_is_who_it_is_by_what_it_pays():
    fun = Language(GRAMMAR, reward=pays_for(GRAMMAR, ["fun"], ["party"]))
    dull = Language(GRAMMAR, reward=pays_for(GRAMMAR, ["dull"], ["exam"]))
    assert fun.identity != dull.identity
    assert fun.identity == Language(GRAMMAR, reward=pays_for(GRAMMAR, ["fun"], ["party"])).identity
    assert repr(fun) == fun.identity != repr(dull)
    named, by_hand = Language(GRAMMAR, reward="bow"), lambda tokens: SCORER.reward("bow")(tokens)
    assert named.identity == Language(wedding(), reward=by_hand).identity


def test_a_world_is_who_it_is_by_what_strings_outside_the_language_earn():
    def lenient(tokens):
        grammatical = SCORER.features(tokens).grammatical
        return torch.where(grammatical, SCORER.reward("gold")(tokens), 0.5)

    other = Language(GRAMMAR, reward=lenient)
    assert (other.worth(WORLD.tree.sentences) == WORLD.worth(WORLD.tree.sentences)).all()
    assert other.identity != WORLD.identity


@pytest.mark.parametrize(("more", "same"), [(1e-8, False), (1e-13, True)])
def test_a_small_difference_in_reward_counts_and_the_last_digits_do_not(more, same):
    other = Language(GRAMMAR, reward=lambda tokens: SCORER.reward("gold")(tokens) + more)
    assert (other.identity == WORLD.identity) is same


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "We had"},
        {"grammar": wedding(late_jackpot=0.02)},
        {"scorer": Scorer(GRAMMAR, SCORER.valences, SCORER.intensifiers, "picnic"), "reward": SCORER.reward("gold")},
        {"reward": taught()},
    ],
    ids=["prompt", "grammar", "scorer", "reward"],
)
def test_whatever_decides_tokens_rewards_or_records_makes_another_world(change):
    assert Language(**{"grammar": GRAMMAR, **change}).identity != WORLD.identity


def test_reward_models_that_differ_in_a_weight_alone_are_different_worlds():
    model = taught()
    weights = {**model.weights, "out": model.weights["out"] + 1e-4}
    changed = dataclasses.replace(model, weights=weights)
    assert Language(GRAMMAR, reward=model).identity != Language(GRAMMAR, reward=changed).identity
    assert repr(model) == repr(changed)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt": ""}, "prompt = '': allowed are one or more words with which a sentence begins"),
        ({"prompt": "had a"}, "prompt = 'had a': allowed are one or more words with which a sentence begins"),
        ({"prompt": "We had a party."}, "prompt = 'We had a party.': allowed"),
        (
            {"prompt": "We had zebra"},
            "^prompt = 'We had zebra' has the word 'zebra': allowed are ., We, I, .*, jackpot$",
        ),
        ({"prompt": "We had a", "limit": 54_419}, "tree of 54,420 nodes: allowed are limit = 54,419"),
        ({"limit": 0}, "limit = 0: allowed are whole numbers"),
        ({"reward": "golden"}, "reward = 'golden': allowed are gold, sent, bow, hp_cap, hp_unc"),
        ({"reward": lambda tokens: tokens.double()}, r"reward gave \(25872, 16\) for tokens .* allowed is \(25872,\)"),
        (
            {"reward": lambda tokens: tokens[..., 0] * torch.nan},
            r"reward gave nan for sequence \(0,\): allowed are finite",
        ),
        ({"reward": lambda tokens: 1.0}, r"reward gave float for tokens"),
        ({"grammar": TOY, "prompt": "a"}, "word of a reward = 'wonderful': allowed are ., a, b"),
    ],
)
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Language(**{"grammar": GRAMMAR, **settings})


def test_a_reader_can_change_words_and_rewards():
    scorer = Scorer(TOY, {"b": 2.0}, ("a",), ".")
    world = Language(TOY, "a", "sent", scorer)
    # a .: praise 0; a b .: the b after one intensifier is worth 2 * 1.5 = 3.
    found = dict(zip((TOY.decode(row) for row in world.tree.sentences), world.worth(world.tree.sentences), strict=True))
    assert found["a."].item() == pytest.approx(torch.tensor(-1.6).sigmoid().item())
    assert found["a b."].item() == pytest.approx(torch.tensor(4.4).sigmoid().item())
