"""Grammars as data, against enumeration and numbers worked out by hand."""

import math

import pytest
import torch

from actde_nb.worlds.grammar import END, START, Grammar
from actde_nb.worlds.wedding import ADJECTIVES, GRAMMARS, SENTIMENTS, tilted, wedding

# "a." 1/2, "b." 1/6, "b b." 1/3 of the time: the second b follows the first with probability 2/3.
TOY_RULES = {
    START: {"a": (0.5, "stop"), "b": (0.5, "more")},
    "more": {"b": (2 / 3, "stop"), ".": (1 / 3, END)},
    "stop": {".": (1.0, END)},
}
TOY = Grammar((".", "a", "b"), TOY_RULES, longest=3)


def every_sentence(grammar, state=START, words=(), chance=1.0):
    """All sentences by walking through the rules; nothing is shared with the code under test."""
    for word, (p, following) in grammar.rules[state].items():
        if following == END:
            yield (*words, word), chance * p
        else:
            yield from every_sentence(grammar, following, (*words, word), chance * p)


def test_numbers_of_three_sentences_by_hand():
    entropy = math.log(2) / 2 + math.log(6) / 6 + math.log(3) / 3
    assert TOY.entropy[0].item() == pytest.approx(entropy, abs=1e-12)
    assert TOY.mean_length[0].item() == pytest.approx(2 / 2 + 2 / 6 + 3 / 3, abs=1e-12)
    assert TOY.completions[0].item() == pytest.approx(3)
    assert TOY.beginnings[0].item() == pytest.approx(4)  # nothing, a, b, b b


def test_chances_of_sentences_and_of_other_things():
    tokens = torch.stack(
        [torch.nn.functional.pad(TOY.encode(text), (0, 2))[:4] for text in ("a.", "b.", "b b.", "b b")]
    )
    torch.testing.assert_close(
        TOY.log_probs(tokens), torch.tensor([1 / 2, 1 / 6, 1 / 3, 0.0], dtype=torch.float64).log()
    )


def test_against_enumeration():
    grammar = wedding(subjects={"We": 0.4, "You": 0.6}, verbs={"had": 0.9, "threw": 0.1})
    sentences = dict(every_sentence(grammar))
    chances = torch.tensor(list(sentences.values()), dtype=torch.float64)
    assert len(sentences) == grammar.completions[0] == 4 * 25_872
    assert chances.sum().item() == pytest.approx(1, abs=1e-9)
    assert grammar.entropy[0].item() == pytest.approx(-(chances * chances.log()).sum().item(), abs=1e-9)
    lengths = torch.tensor([len(words) for words in sentences], dtype=torch.float64)
    assert grammar.mean_length[0].item() == pytest.approx((chances @ lengths).item(), abs=1e-9)
    assert lengths.max() == 14


def test_the_default_language_in_numbers():
    grammar = wedding()
    wedding_state = grammar.read(grammar.encode("We had a"))[-1]
    assert len(grammar.vocabulary) == 49
    assert grammar.entropy[0].item() == pytest.approx(10.971, abs=5e-4)
    assert grammar.mean_length[0].item() == pytest.approx(8.887, abs=5e-4)
    assert grammar.entropy[wedding_state].item() == pytest.approx(7.333, abs=5e-4)
    assert grammar.completions[wedding_state].item() == pytest.approx(25_872)
    assert grammar.beginnings[wedding_state].item() == pytest.approx(28_548)


@pytest.mark.parametrize(("adjective", "sign"), [("lovely", 1), ("big", 0), ("awful", -1)])
def test_a_sentiment_remembers_the_adjective(adjective, sign):
    grammar = wedding()
    assert ADJECTIVES[adjective][0] * sign >= 0
    for link, direction in (("and", 1), ("but", -1)):
        state = grammar.read(grammar.encode(f"They threw a very {adjective} picnic {link} it was very"))[-1]
        expected = tilted(SENTIMENTS, 1.5 * sign * direction)
        for word, chance in expected.items():
            assert grammar.chances[state, grammar.vocabulary.index(word)].item() == pytest.approx(chance, abs=1e-12)


def test_samples_come_as_often_as_they_should():
    tokens = TOY.sample(30_000, torch.Generator().manual_seed(0))
    share = torch.tensor([(tokens == row).all(1).double().mean() for row in tokens.unique(dim=0)])
    # Rows in order: a, b ., b b . with chances 1/2, 1/6, 1/3; four standard errors of a share are .012 at most.
    torch.testing.assert_close(share, torch.tensor([1 / 2, 1 / 6, 1 / 3], dtype=torch.float64), atol=0.012, rtol=0)
    assert torch.isfinite(wedding().log_probs(wedding().sample(1_000, torch.Generator().manual_seed(1)))).all()


def test_samples_go_on_from_a_prompt():
    tokens = TOY.sample(50, torch.Generator().manual_seed(0), after=TOY.encode("b"))
    assert {TOY.decode(row) for row in tokens} == {"b.", "b b."}


def test_words_and_tokens():
    grammar = wedding()
    text = "We had a very very lovely wedding and it was great jackpot."
    assert grammar.decode(grammar.encode(text)) == text
    with pytest.raises(
        ValueError, match="text = 'We had a quantum wedding' has the word 'quantum': allowed are ., We, I"
    ):
        grammar.encode("We had a quantum wedding")


def test_sequences_end_where_the_sentence_does():
    pad, begin, stop, a, b = range(5)
    tokens = torch.tensor(
        [
            [begin, a, stop, b, a],  # whole after the stop
            [begin, a, a, stop, b],  # not a sentence, and yet over with the stop
            [begin, a, a, a, a],  # goes on
            [begin, b, pad, b, stop],  # stopped saying anything
        ]
    )
    trimmed, asked = TOY.trim(tokens)
    assert trimmed.tolist() == [
        [begin, a, stop, pad, pad],
        [begin, a, a, stop, pad],
        [begin, a, a, a, a],
        [begin, b, pad, pad, pad],
    ]
    assert asked.sum(1).tolist() == [3, 4, 5, 3]


def changed(**states):
    return {**TOY_RULES, **states}


@pytest.mark.parametrize(
    ("words", "rules", "longest", "message"),
    [
        ((".", "a", "b", "a"), TOY_RULES, 3, "words has 'a': allowed are words without spaces, each once"),
        ((".", "a", "b", "x y"), TOY_RULES, 3, "words has 'x y'"),
        ((".", "a", "b", "<pad>"), TOY_RULES, 3, "words has '<pad>'"),
        ((".", "a"), TOY_RULES, 3, r"word in rules\['start'\] = 'b': allowed are ., a"),
        ((".", "a", "b"), {"stop": {".": (1.0, END)}}, 3, "rules has states stop: allowed are sets with 'start'"),
        ((".", "a", "b"), changed(end={".": (1.0, END)}), 3, "without 'end'"),
        ((".", "a", "b"), changed(stop={".": (0.9, END)}), 3, r"rules\['stop'\] = \[0.9\]: allowed .* sum to one"),
        ((".", "a", "b"), changed(stop={".": (1.5, END), "a": (-0.5, END)}), 3, "allowed are positive numbers"),
        ((".", "a", "b"), changed(stop={}), 3, r"rules\['stop'\] = \[\]"),
        ((".", "a", "b"), changed(stop={".": (1.0, "there")}), 3, r"state after rules\['stop'\]\['.'\] = 'there'"),
        ((".", "a", "b"), changed(island={".": (1.0, END)}), 3, "rules has 'island', which no sentence reaches"),
        ((".", "a", "b"), changed(stop={"a": (1.0, "stop")}), 3, "rules has 'stop', from which no sentence ends"),
        ((".", "a", "b"), changed(stop={"a": (0.5, "stop"), ".": (0.5, END)}), 3, "still in 'stop' after longest = 3"),
        ((".", "a", "b"), TOY_RULES, 2, "still in 'stop' after longest = 2 words"),
        ((".", "a", "b"), TOY_RULES, 0, "longest = 0: allowed are whole numbers of 1 or more"),
    ],
)
def test_a_grammar_that_cannot_be_is_refused(words, rules, longest, message):
    with pytest.raises(ValueError, match=message):
        Grammar(words, rules, longest)


def test_a_reader_can_change_the_language():
    grammar = wedding(subjects={"We": 1.0}, verbs={"had": 1.0}, early_jackpot=0.2)
    assert grammar.completions[0].item() == pytest.approx(25_872)
    after = grammar.read(grammar.encode("We had a big picnic"))[-1]
    assert grammar.chances[after, grammar.vocabulary.index("jackpot")] == 0.2


def tokens_of(grammar, text):
    """As ``encode``, without taking a full stop for a word of its own."""
    return torch.tensor([1, *map(grammar.vocabulary.index, text.split())])


def chance_of(grammar, text):
    return grammar.log_probs(tokens_of(grammar, text)).exp().item()


def after(grammar, text):
    return grammar.read(tokens_of(grammar, text))[-1]


@pytest.mark.parametrize("name", GRAMMARS)
def test_every_grammar_completes_the_prompt_in_the_same_ways(name):
    grammar, book = GRAMMARS[name](), wedding()
    place, usual = after(grammar, "We had a"), after(book, "We had a")
    assert grammar.completions[place].item() == pytest.approx(25_872)
    assert grammar.beginnings[place].item() == pytest.approx(28_548)
    texts = book.sample(200, torch.Generator().manual_seed(0), after=book.encode("We had a"))
    words = [" ".join(book.vocabulary[token] for token in row if token > 1) for row in texts.tolist()]
    assert min(chance_of(grammar, text) for text in words) > 0
    assert (name == "wedding") == (grammar.rules == book.rules and grammar.words == book.words)
    assert (name in ("wedding", "dialects")) == (grammar.entropy[place].item() == pytest.approx(book.entropy[usual]))


def test_with_short_range_neighbours_agree_and_nothing_else():
    grammar = GRAMMARS["short_range"]()
    # A lovely thing is a wedding with .1 e^(.8 * .6), over the sum of all eight events; a sentiment is as likely as the
    # list says. There are .63 * .12 of lovely, then .5 of and, .86 without intensifier, .985 of a stop.
    events = {.6: .1 + .2, .5: .12, .3: .1, .1: .2, -.2: .14, -.5: .08, -.8: .06}  # fmt: skip
    wed = 0.1 * math.exp(0.48) / sum(share * math.exp(0.8 * good) for good, share in events.items())
    prompt = 0.3 * 0.35
    text = "We had a lovely wedding and it was great ."
    assert chance_of(grammar, text) == pytest.approx(prompt * 0.63 * 0.12 * wed * 0.5 * 0.86 * 0.15 * 0.985, rel=1e-12)
    row = {
        (adjective, link): grammar.chances[after(grammar, f"We had a {adjective} exam {link} it was")]
        for adjective in ("lovely", "big", "awful")
        for link in ("and", "but")
    }
    assert len({tuple(chances.tolist()) for chances in row.values()}) == 1
    kind, unkind = (grammar.chances[after(grammar, f"We had a {word}")] for word in ("lovely", "awful"))
    wedding_token = grammar.vocabulary.index("wedding")
    assert kind[wedding_token].item() == pytest.approx(wed, rel=1e-12)
    assert kind[wedding_token] > 1.5 * unkind[wedding_token]


def test_with_ten_dialects_there_are_ten_times_the_words():
    grammar, book = GRAMMARS["dialects"](), wedding()
    assert len(grammar.words) == 10 * len(book.words) == 470
    assert grammar.completions[0].item() == pytest.approx(10 * 48 * 25_872)  # eight subjects, six verbs
    text = "We had a lovely wedding and it was great ."
    numbered = " ".join(f"{word}7" for word in text.split())
    assert chance_of(grammar, text) == pytest.approx(chance_of(book, text) / 2, rel=1e-12)
    assert chance_of(grammar, numbered) == pytest.approx(chance_of(book, text) / 18, rel=1e-12)
    assert chance_of(grammar, text.replace("great", "great7")) == 0
    assert grammar.entropy[0].item() == pytest.approx(book.entropy[0].item() + math.log(2) + math.log(9) / 2)


def test_uniform_means_that_no_sentence_is_likelier():
    grammar = GRAMMARS["uniform"]()
    place = after(grammar, "We had a")
    assert grammar.entropy[place].item() == pytest.approx(math.log(25_872), abs=1e-9)
    assert grammar.entropy[0].item() == pytest.approx(math.log(48 * 25_872), abs=1e-9)
    for text in ("You hated a exam .", "We had a lovely wedding and it was great .", "I had a big exam jackpot ."):
        assert chance_of(grammar, text) == pytest.approx(1 / 48 / 25_872, rel=1e-12)
    # After an event there are 98 ways on: a stop, a jackpot, and 48 sentiments after each of "and" and "but".
    following = grammar.chances[after(grammar, "We had a lovely wedding")]
    ways = {word: following[grammar.vocabulary.index(word)].item() * 98 for word in (".", "jackpot", "and", "but")}
    assert ways == pytest.approx({".": 1, "jackpot": 1, "and": 48, "but": 48})
