"""What a person can get wrong is one line each: the field, its value, what is allowed."""

import json
import math
import re

import numpy as np
import pytest
import torch
from tiny_language_models import CONTEXT, language_model, llama, tokenizer

from actde_nb.checks import SettingError
from actde_nb.finetune import texts
from actde_nb.finetune.models import LanguageModel
from actde_nb.finetune.run import finetune
from actde_nb.finetune.settings import Settings
from actde_nb.training.algorithms import ALGORITHMS, Algorithm
from actde_nb.training.config import TrainingSettings


@pytest.fixture(scope="module")
def model():
    return language_model()


def read(source, model, steps=4):
    return texts.read(source, model, steps)


def test_prompts_from_everywhere(model, tmp_path):
    wanted = [(5, 6), (8,)]
    rows = [{"prompt": "the movie", "word": "so"}, {"prompt": "a", "word": "good"}]
    (tmp_path / "one.txt").write_text("the movie\n\na\n", encoding="utf-8")
    (tmp_path / "two.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tmp_path / "three.jsonl").write_text('"the movie"\n"a"\n', encoding="utf-8")
    for source in (
        ["the movie", "a"],
        rows,
        iter(rows),
        *(tmp_path / f for f in ("one.txt", "two.jsonl", "three.jsonl")),
    ):
        assert [prompt.ids for prompt in read(source, model)] == wanted
    assert read(str(tmp_path / "two.jsonl"), model)[1].columns == {"word": "good"}
    assert read(rows, model)[0].text == "the movie"


def test_messages_are_prompts_too(tmp_path):
    """The reward gets them as they were given."""
    words, messages = tokenizer(), [{"role": "user", "content": "the movie"}]
    words.chat_template = "{% for m in messages %}{{ m.content }} {% endfor %}a"
    (tmp_path / "chats.jsonl").write_text(json.dumps({"prompt": messages, "word": "so"}), encoding="utf-8")
    [prompt] = read(tmp_path / "chats.jsonl", LanguageModel(llama(), words, "all"))
    assert (prompt.ids, prompt.text, prompt.columns) == ((5, 6, 8), messages, {"word": "so"})


def test_each_prompt_once_before_any_twice():
    turns = [texts.turn(5, rollout, 3, seed=0) for rollout in range(10)]
    together = sum(turns, [])
    assert all(sorted(together[start : start + 5]) == list(range(5)) for start in range(0, 30, 5))
    assert together[:5] != together[5:10]  # in another order
    assert texts.turn(2, 4, 7, seed=0) == texts.turn(2, 4, 7, seed=0)
    assert len(texts.turn(2, 4, 7, seed=0)) == 7
    assert texts.turn(50, 0, 50, seed=0) != texts.turn(50, 0, 50, seed=1)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([], "prompts is empty: allowed are one prompt or more"),
        (["the", ""], "prompts[1] = '': allowed are prompts of one token or more"),
        (["the", 3], "prompts[1] = 3: allowed are a text"),
        ([{"text": "the"}], "prompts[0] = {'text': 'the'}: allowed are a text"),
        ([["the"]], "prompts[0] = ['the']: allowed are a text"),
        (["a " * (CONTEXT - 3)], f"prompts[0] has {CONTEXT - 3} tokens: allowed are {CONTEXT - 4} or fewer, context"),
        ([{"prompt": "a", "x": 1}, {"prompt": "a"}], "prompts[1] has the columns []: allowed are those of prompts[0]"),
        ("nowhere.txt", "prompts = 'nowhere.txt', line 0: allowed is a file of texts"),
    ],
)
def test_prompts_that_cannot_be(source, message, model):
    with pytest.raises(SettingError, match=f"^{re.escape(message)}"):
        read(source, model)
    read(["a " * (CONTEXT - 4)], model)


def test_a_line_that_is_no_json(model, tmp_path):
    (tmp_path / "p.jsonl").write_text('{"prompt": "a"}\n{"prompt"\n', encoding="utf-8")
    with pytest.raises(SettingError, match=r"p\.jsonl', line 2: allowed is a file of texts, .* \(Expecting"):
        read(tmp_path / "p.jsonl", model)


def test_a_reward_gets_prompts_completions_and_columns():
    def reward(prompts, completions, *, word):
        return [float(completions == ["x", "y"] and prompts == ["p", "q"]), float(word == ["so", "good"])]

    found = texts.ask(reward, ("p", "q"), ("x", "y"), {"word": ("so", "good")})
    assert found.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "said", [[1, 2.0], (True, 2), np.array([1, 2]), torch.tensor([1.0, 2.0]), [torch.tensor(1), 2]]
)
def test_rewards_that_can_be(said):
    assert texts.ask(lambda prompts, completions: said, "pq", "xy", {}).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([1.0], "reward returned 1 numbers for 2 completions"),
        ([1.0, 2.0, 3.0], "reward returned 3 numbers for 2 completions"),
        ([1.0, math.nan], "reward[1] = nan"),
        ([math.inf, 1.0], "reward[0] = inf"),
        ([1.0, None], "reward[1] = None"),
        ([1.0, "2"], "reward[1] = '2'"),
        ([1.0, [2.0]], "reward[1] = [2.0]"),
        ("ab", "reward returned 'ab'"),
        (None, "reward returned None"),
        (1.0, "reward returned 1.0"),
        ({0: 1.0, 1: 2.0}.values(), "reward returned dict_values([1.0, 2.0])"),
    ],
)
def test_rewards_that_cannot_be(said, message):
    with pytest.raises(SettingError) as caught:
        texts.ask(lambda prompts, completions: said, "pq", "xy", {})
    assert str(caught.value) == f"{message}: {texts.NUMBERS}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"row": "pppo"}, "row = 'pppo': allowed are ppo, actde, "),
        ({"learns": "half"}, "learns = half: allowed are all, lora:RANK and last:BLOCKS"),
        ({"learns": "lora"}, "learns = lora: allowed"),
        ({"learns": "lora:0"}, "learns = lora:0: allowed"),
        ({"learns": "lora:-1"}, "learns = lora:-1: allowed"),
        ({"learns": "last:two"}, "learns = last:two: allowed"),
        ({"learns": "all:3"}, "learns = all:3: allowed"),
        ({"optimiser": "adam"}, "optimiser = 'adam': allowed are adamw, sgd"),
        ({"dtype": "int8"}, "dtype = 'int8': allowed are float32, bfloat16, float64"),
        ({"micro_batch": 0}, "micro_batch = 0: allowed are whole numbers of 1 or more"),
        ({"critic_width": -1}, "critic_width = -1: allowed are whole numbers of 0 or more"),
        ({"row": "grpo", "group_size": 5}, "group_size = 5: allowed are numbers that divide batch = 32"),
        (
            {"row": "rebel", "micro_batch": 3},
            "micro_batch = 3 with row = 'rebel': allowed are 4 or more, since the row",
        ),
        ({"row": "clip_cov", "micro_batch": 8}, "micro_batch = 8 with row = 'clip_cov': allowed are 16 or more"),
        ({"row": "dro"}, "kl_in_reward = 0.05 with algorithm = 'dro': allowed is 0, since beta is the price of a nat"),
        ({"minibatches": 3}, "minibatches = 3: allowed are numbers that divide"),
    ],
)
def test_settings_that_cannot_be(options, message):
    with pytest.raises(SettingError, match=f"^{re.escape(message)}"):
        Settings(**options)


def test_settings_are_those_of_the_loop():
    settings = Settings(row="awr", learns="last:2")
    assert isinstance(settings, TrainingSettings)
    assert settings.algorithm == "awr"


def test_a_row_of_ones_own(monkeypatch):
    monkeypatch.setitem(ALGORITHMS, "mine", Algorithm(lambda rewards: rewards, value_loss=None))
    run = finetune(
        llama(), ["a", "the"], lambda prompts, completions: [len(c) for c in completions],
        Settings(row="mine", batch=4, steps=3, updates=4, learns="last:1", checkpoint_every=4),
        tokenizer=tokenizer(), quiet=True,
    )  # fmt: skip
    assert len(run.records) == 1
