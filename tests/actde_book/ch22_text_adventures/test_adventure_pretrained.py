"""A pretrained model in a recorded game: what a command earns, what is heard, and runs of a tiny random model."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="needs the extra finetune")

from actde_book.ch22_text_adventures import pretrained  # noqa: E402 (after the check)
from actde_book.ch22_text_adventures.free_text import EXAMPLE, Writer, credit, heard, prompt  # noqa: E402
from actde_book.ch22_text_adventures.pretrained import begin, learn  # noqa: E402
from tiny_language_models import language_model  # noqa: E402

from actde_nb.checks import CheckpointError  # noqa: E402
from actde_nb.experiments import results  # noqa: E402
from actde_nb.finetune.sampling import learner  # noqa: E402
from actde_nb.finetune.settings import Settings  # noqa: E402
from actde_nb.worlds.adventure import Adventure  # noqa: E402

ON, STAY = (("so", "good", "bad", "the"), ("a", "b", "c", "d"))  # first words of commands; then comes any of them
TINY = Settings(
    learns="last:1", updates=8, batch=32, micro_batch=8, steps=2, critic_width=8, learning_rate=1e-2, kl_in_reward=0.1,
    checkpoint_every=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Adventure:
    """Two rooms: half of the commands lead on, and then win 4 points."""
    states = [
        {"description": "the movie was bad", "inventory": "c", "won": False},
        {"description": "good", "inventory": "c d", "won": False},
        {"description": "d", "inventory": "d", "won": True},
    ]
    for number, state in enumerate(states):
        on, stay = {"to": number + 1, "score": 4 * number}, {"to": number, "score": 0}
        pairs = {f"{word} {other}": on if word in ON else stay for word in ON + STAY for other in ON + STAY}
        state["commands"] = {} if state["won"] else pairs
    path = tmp_path_factory.mktemp("game") / "tiny.json"
    path.write_text(json.dumps({"turns": 4, "states": states}), encoding="utf-8")
    return Adventure(path, fine=0.5)


def writer(world: Adventure, **changed: object) -> Writer:
    model = language_model("llama", "last:1", max_position_embeddings=512)
    return Writer(model, world, replace(TINY, **changed))


def test_what_a_command_earns_by_hand():
    """Two games, of which the second is won by its first command, of one word. Discount 0.9, trace 1/2.

    The first game's second command: errors are 4 - 0.1 - 1 = 2.9 of its last word, -0.2 + 1 - 3 = -2.2 of its first. So
    G = 3 - 2.2 + 2.9 / 2 = 2.25, and with v = 3 half of each is 2.625. The command before earns -0.5 + 0.9 x 2.625."""
    paid = torch.tensor([-0.5, 4.0, 4.0])
    values = torch.tensor([[1.0, 0.5], [2.0, 0.0], [3.0, 1.0]])
    costs = torch.tensor([[0.1, 0.0], [0.0, 0.0], [0.2, 0.1]])
    mask = torch.tensor([[True, True], [True, False], [True, True]])
    agents = [torch.tensor([0, 1]), torch.tensor([0])]
    found = credit(paid, values, costs, mask, agents, 0.5)
    assert found.numpy() == pytest.approx(np.array([[0, -0.5 + 0.9 * 2.625], [4, 0], [0, 4]]))
    # Without a critic, what follows is what is earned, less what words cost: 4 - 0.3.
    found = credit(paid, values, costs, mask, agents, 1.0)
    assert found.numpy() == pytest.approx(np.array([[0, -0.5 + 0.9 * 3.7], [4, 0], [0, 4]]))


def test_a_text_is_a_command_whatever_its_case_and_marks():
    said = [
        "go west",
        " Go  WEST.\n",
        "> go west",
        "west",
        "go west now",
        "",
        "fly to the moon",
        "open box",
        "close box",
    ]
    turn = pretrained.WORLD.play(torch.zeros(len(said), dtype=torch.long), heard(pretrained.WORLD, said))
    assert turn.admissible.tolist() == [True] * 3 + [False] * 4 + [True, False]  # the box is closed
    assert turn.rewards.tolist() == [0] * 3 + [-0.5] * 4 + [0, -0.5]
    kitchen, opened = (pretrained.WORLD.record["states"][0]["commands"][name]["to"] for name in ("go west", "open box"))
    assert turn.states.tolist() == [kitchen] * 3 + [0] * 4 + [opened, 0]
    assert not pretrained.WORLD.play(
        torch.zeros(2, dtype=torch.long), heard(pretrained.WORLD, ["", "?"])
    ).admissible.any()


def test_a_prompt_lists_the_commands_and_ends_without_a_blank():
    [text] = [prompt(pretrained.WORLD, 14).removeprefix(EXAMPLE)]
    assert text.startswith("-= Study =- You are in a study.")
    assert text.endswith("carrying: a blue coin.\nPossible commands: go south, put blue coin on table.\n>")


def test_reading_prompts_once_says_what_reading_all_says(world):
    """The network learns first, so that it and its reference are two."""
    run = writer(world, updates=4)
    run.step()
    work, _ = run.play()
    rollout, prompts = work.batch.rollout, work.prompts[0]
    steps = rollout.rewards.shape[-1]
    assert len(set(prompts.tolist())) > 1
    tokens = torch.cat([run.tokens[prompts, :-1], rollout.tokens[0]], 1)
    seen = torch.cat([run.seen[prompts, :-1], work.seen[0]], 1)
    said = run.outputs(work)
    with torch.no_grad():
        whole = learner(run.model, tokens, seen, steps).logits
        before = learner(run.model, tokens, seen, steps, reference=True).logits.log_softmax(-1)
    assert (said.logits[0] - whole)[rollout.mask[0]].abs().max() <= 1e-5
    assert (rollout.reference[0] - before)[rollout.mask[0]].abs().max() <= 1e-5
    assert (rollout.reference[0] - whole.log_softmax(-1))[rollout.mask[0]].abs().max() > 1e-3
    taken = whole.log_softmax(-1).gather(-1, rollout.taken[0][..., None])[..., 0]
    assert (rollout.log_probs[0] - taken)[rollout.mask[0]].abs().max() <= 1e-5


def test_gradients_are_those_of_reading_all(world):
    """Of the sum of all log-probabilities: learning reaches the prompts' keys and values too."""
    run = writer(world)
    work, _ = run.play()
    rollout, prompts = work.batch.rollout, work.prompts[0]
    tokens = torch.cat([run.tokens[prompts, :-1], rollout.tokens[0]], 1)
    seen = torch.cat([run.seen[prompts, :-1], work.seen[0]], 1)

    def gradients(logits: torch.Tensor) -> list[torch.Tensor]:
        taken = logits.log_softmax(-1).gather(-1, rollout.taken[0][..., None])[..., 0]
        return torch.autograd.grad((taken * rollout.mask[0]).sum(), list(run.model.learned.values()))

    ours = gradients(run.outputs(work).logits[0])
    theirs = gradients(learner(run.model, tokens, seen, rollout.rewards.shape[-1]).logits)
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).abs().max() <= 1e-4 * other.abs().max()


def test_without_a_price_first_words_of_qs_row_are_given_the_return_of_the_game(world):
    run = writer(world, row="actde_return", kl_in_reward=0.0)
    work, record = run.play()
    returns, points = np.zeros(8), 0.0
    first = (work.batch.advantages + work.batch.rollout.q_taken)[0, :, 0].numpy()
    rows = np.arange(len(first))
    for given in run.game[::-1]:
        mine, rows = rows[len(rows) - len(given.agents) :], rows[: len(rows) - len(given.agents)]
        returns[given.agents] = given.turn.rewards.numpy() + 0.9 * returns[given.agents]
        assert first[mine] == pytest.approx(returns[given.agents], abs=1e-5)
        points += (given.turn.rewards + 0.5 * ~given.turn.admissible).sum().item()
    assert record["score"] == pytest.approx(points / 8)
    assert record["score"] == pytest.approx(4 * record["wins"])


def go(world: Adventure, folder: Path, updates: int, **changed: object) -> tuple[Writer, list]:
    model = language_model("llama", "last:1", max_position_embeddings=512)
    work, said = begin(model, world, replace(TINY, updates=updates, **changed), folder)
    learn(work, said, folder, updates)
    return work, said


@pytest.mark.parametrize("row", pretrained.ROWS)
def test_a_run_that_is_interrupted_ends_as_one_that_is_not(world, row, tmp_path):
    whole, said = go(world, tmp_path / "whole", 8, **pretrained.ROWS[row])
    go(world, tmp_path / "parts", 4, **pretrained.ROWS[row])
    parts, again = go(world, tmp_path / "parts", 8, **pretrained.ROWS[row])
    assert again == said
    for name, value in whole.parameters.items():
        assert torch.equal(value, parts.parameters[name]), name
    for name in set(whole.records.names) - {"tokens_per_second"}:
        assert np.array_equal(whole.records.column(name), parts.records.column(name)), name
        assert np.isfinite(whole.records.column(name)).all(), name
    assert any((value != whole.model.first_values[name]).any() for name, value in whole.model.learned.items())


def test_a_game_with_another_fine_is_another_run(world, tmp_path):
    go(world, tmp_path, 4)
    with pytest.raises(CheckpointError, match="other prompts"):
        go(replace(world, fine=0.25), tmp_path, 8)


def test_results_keep_what_was_said_and_where(world, tmp_path):
    run, said = go(world, tmp_path / "state", 8)
    results.write(pretrained.dataset(run, said), tmp_path / "run.nc")
    data = results.read(tmp_path / "run.nc")
    shape = {"trial": 1, "rollout": 2, "quantity": len(run.records.names), "shown": 2, "turn": 4, "agent": 8}
    assert dict(data.sizes) == shape
    assert data["record"].sel(quantity="commands")[0, 1].item() * 8 == (data["states"][0, 1] >= 0).sum()
    for turn, given in enumerate(run.game):
        assert data["commands"].values[0, 1, turn, given.agents].tolist() == given.said
        assert data["states"].values[0, 1, turn, given.agents].tolist() == given.states.tolist()


@pytest.mark.parametrize("run", list(pretrained.planned()), ids=lambda run: run.path.stem)
def test_a_stored_run_is_whole_and_as_planned(run):
    if not run.path.exists():
        pytest.skip("is not stored yet")
    data = results.read(run.path)
    told, asked = json.loads(data.attrs["settings"]), json.loads(json.dumps(asdict(run.settings)))
    assert {k: v for k, v in told["settings"].items() if k in asked} == {
        k: v for k, v in asked.items() if k in told["settings"]
    }
    assert (told["world"], told["prompt"]) == (repr(pretrained.WORLD), prompt(pretrained.WORLD, 0))
    assert np.isfinite(data["record"]).all()
    # The last rollout's numbers, from what was said in it.
    there, said = (data[name].values[0, -1] for name in ("states", "commands"))
    given = there >= 0
    turn = pretrained.WORLD.play(torch.from_numpy(there[given]).long(), heard(pretrained.WORLD, said[given].tolist()))
    record = data["record"][0, -1]
    assert turn.admissible.double().mean().item() == pytest.approx(record.sel(quantity="admissible").item(), abs=1e-6)
    points = (turn.rewards + pretrained.WORLD.fine * ~turn.admissible).sum().item()
    assert points / pretrained.AGENTS == pytest.approx(record.sel(quantity="score").item(), abs=1e-6)
