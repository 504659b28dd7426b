"""Networks that play a recorded game: what is read once, what is drawn, and how credit crosses commands."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from actde_book.ch22_text_adventures import programme, verdicts
from actde_book.ch22_text_adventures.exact import divergence, study, uniform
from actde_book.ch22_text_adventures.games import GameTrainer, GameWorld, Play, write
from actde_book.ch22_text_adventures.network import dealt, player, policy_table, read_prompts
from actde_book.ch22_text_adventures.programme import planned

from actde_nb import paths
from actde_nb.checks import SettingError
from actde_nb.compare.verdicts import read_predictions
from actde_nb.experiments import results
from actde_nb.networks import gpt
from actde_nb.training import checkpoint
from actde_nb.training.objective import prepare
from actde_nb.training.rollout import Rollout, part
from actde_nb.worlds.adventure import Adventure

EITHER = Adventure("either")


@pytest.fixture(scope="module")
def either():
    return player(EITHER, paths.PRETRAINED)


def shaken(policy, by: float = 0.5, trials: int = 2) -> gpt.Params:
    """The pretrained network with noise on its weights, which says many inadmissible things."""
    draw = torch.Generator().manual_seed(5)
    params = policy.init([draw] * trials)
    return {name: x + by * x.std() * torch.randn(x.shape, generator=draw) for name, x in params.items()}


def small(name: str = "ppo_0", trials: int = 2, **config) -> GameTrainer:
    run = planned(name, "high", trials=trials)
    return replace(run, config=replace(run.config, **config)).trainer()


def test_prompts_read_once_say_what_the_whole_network_says(either):
    params = {name: x.requires_grad_() for name, x in shaken(either).items()}
    draw = torch.Generator().manual_seed(0)
    states = torch.randint(len(EITHER.won), (2, 7), generator=draw)
    words = torch.randint(either.vocabulary, (2, 7, EITHER.words - 1), generator=draw)
    tokens = torch.cat([EITHER.prompts[states], words], -1)
    ours = either.forward(params, tokens)
    whole = gpt.forward(params, either.config, tokens)
    whole = gpt.Outputs(*(said[:, :, -EITHER.words :] for said in whole))
    gradients = []
    for said in (ours, whole):
        loss = said.logits.log_softmax(-1)[..., 3].sum() + said.values.square().sum() + said.q[..., 4].sum()
        gradients.append(torch.autograd.grad(loss, list(params.values())))
    for one, other in zip(ours, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_before_training_it_plays_as_the_uniform_policy(either):
    table = policy_table(either.init([torch.Generator()]), either.config, EITHER)[0].numpy()
    on = ~EITHER.won.numpy()
    assert np.abs(table - uniform(EITHER))[on].max() < 0.02
    assert divergence(EITHER, table[None], table)[0] == 0


def test_sampled_games_have_the_exact_numbers(either):
    """Wins, score and share of inadmissible commands of whole games, of a network that says many of the latter."""
    work = small()
    params = either.init([torch.Generator()] * 2)
    params["policy.weight"] = params["policy.weight"] * torch.tensor([0.6, 0.5])[:, None, None]  # less sure of words
    exact = study(EITHER, policy_table(params, either.config, EITHER).numpy())
    assert (exact.invalid > 0.05).all()
    assert (exact.wins > 0.02).all()
    read = read_prompts(params, either.config, work.prompts[0].expand(2, -1, -1))
    draw = torch.Generator().manual_seed(1)
    states = torch.zeros(2, 400, dtype=torch.long)
    bad, given = (torch.zeros(2, 400) for _ in range(2))
    for _ in range(EITHER.turns):
        going = ~EITHER.won[states]
        strings = write(params, either, dealt(read, work.prompts[1][states]), torch.rand(2, 400, 6, generator=draw))
        turn = EITHER.play(states, strings)
        bad += going & ~turn.admissible
        given += going
        states = turn.states
    won = EITHER.won[states].double().mean(1).numpy()
    assert np.abs(won - exact.wins).max() < 4 * np.sqrt(exact.wins * (1 - exact.wins) / 400).max()
    assert (bad.sum(1) / given.sum(1)).numpy() == pytest.approx(exact.invalid, abs=0.04)


def words(values: list[list[float]]) -> torch.Tensor:
    return torch.tensor([values])


def followed(play: Play, over: list[bool] = (False, False), **config) -> list[list[float]]:
    """Rewards of two commands, of two and of three words, that pay .5 and 2; afterwards v is 10."""
    work = small(trials=1, gae_lambda=0.5, **config)
    work.world = GameWorld(EITHER, play)
    mask = torch.tensor([[[1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0]]]).bool()
    zeros = torch.zeros(1, 2, 6)
    rollout = Rollout(
        tokens=torch.zeros(1, 2, 88, dtype=torch.long), rewards=zeros, log_probs=zeros + 0.2,
        values=words([[1.0, 2.0, 0, 0, 0, 0], [3.0, 4.0, 5.0, 0, 0, 0]]), next_value=torch.zeros(1, 2), q_taken=zeros,
        mask=mask, reference=torch.zeros(1, 2, 6, EITHER.vocabulary),
    )  # fmt: skip
    paid, ends = torch.tensor([[[0.5, 2.0]]]), torch.tensor([[list(over)]])
    return work._with_what_follows(rollout, paid, ends, torch.tensor([[10.0]]))[0].tolist()


TWO = Play(agents=1, turns=2, discount=0.9)


@pytest.mark.parametrize(
    ("play", "over", "config", "first", "second"),
    [
        # v of the next command's first word, 3, and v afterwards: .5 + .9 * 3 and 2 + .9 * 10
        (replace(TWO, carried=False), (False, False), {}, 3.2, 11.0),
        # the second's errors are 4 - 3, 5 - 4 and 11 - 5, its trace 1 + .5 * 1 + .25 * 6 = 3, so that the first is
        # followed by half of 3 and half of 3 + 3
        (TWO, (False, False), {}, 0.5 + 0.9 * 4.5, 11.0),
        # without lambda the first is followed by the whole return, 11
        (TWO, (False, False), {"algorithm": "actde_return"}, 0.5 + 0.9 * 11, 11.0),
        # each nat costs 1, and each of the second's words was .2 nats likelier than before: errors 1 - .2, 1 - .2 and
        # 6 - .2, trace .8 + .4 + 1.45 = 2.65
        (TWO, (False, False), {"kl_in_reward": 1.0}, 0.5 + 0.9 * (3 + 0.5 * 2.65), 11.0),
        (TWO, (True, False), {}, 0.5, 11.0),
        (TWO, (True, True), {}, 0.5, 2.0),
        (replace(TWO, carried=False, zero_bootstrap=True), (False, False), {}, 3.2, 2.0),
    ],
)  # fmt: skip
def test_a_command_is_followed_by_the_next_one(play, over, config, first, second):
    found = followed(play, over, **config)
    assert found[0] == pytest.approx([0, first, 0, 0, 0, 0])
    assert found[1] == pytest.approx([0, 0, second, 0, 0, 0])


def test_the_published_shape_is_the_published_formula():
    """With the trace cut: the published code's loop over the words of one command, backwards, worked out here anew."""
    work = small("published_sparse_cut_none_all")
    noise = torch.Generator().manual_seed(3)
    work.parameters["value.weight"].data += torch.randn(work.parameters["value.weight"].shape, generator=noise)
    states, commands = torch.tensor([[0, 1]] * 2), EITHER.strings[torch.tensor([[0, 3]] * 2)]
    rollout = work._rollout(states.repeat(1, 64), commands.repeat(1, 64, 1))
    paid = torch.rand(2, 16, 8, generator=noise)
    after = torch.rand(2, 16, generator=noise)
    over = torch.zeros(2, 16, 8, dtype=torch.bool)
    rewards = work._with_what_follows(rollout, paid, over, after)
    ours = prepare(replace(rollout, rewards=rewards), work.config).advantages
    for agent, turn in ((0, 0), (3, 7), (15, 4)):
        row = agent * 8 + turn
        v, length = rollout.values[1, row].tolist(), int(rollout.mask[1, row].sum())
        following = float(after[1, agent] if turn == 7 else rollout.values[1, row + 1, 0])
        last, expected = 0.0, []
        for word in reversed(range(length)):
            end = word == length - 1
            v_next = 0.9 * following if end else v[word + 1]
            last = (float(paid[1, agent, turn]) if end else 0) + v_next - v[word] + 0.95 * last
            expected.insert(0, last)
        assert ours[1, row, :length].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_the_minibatch_fault_trains_on_the_last_row_of_each():
    all_rows, last = (small(f"published_sparse_cut_none_{rows}") for rows in ("all", "last"))
    whole, kept = all_rows.play(), last.play()
    assert kept.rewards.shape[1] == 16
    for number in range(16):
        [of_all, of_kept] = (part(rollout, number, 16) for rollout in (whole, kept))
        assert of_all.tokens.shape[1] == 8
        assert torch.equal(of_all.tokens[:, -1:], of_kept.tokens)
        assert torch.equal(of_all.rewards[:, -1:], of_kept.rewards)


def test_example_turns_are_played_and_not_learned_from():
    """If most turns are examples, games move on between the commands of a rollout, of which there are as many."""
    work, ours = small("november"), small("published_dense_cut_fine_all")
    work.world = GameWorld(work.world.adventure, replace(work.world.play, example_turns=0.9))
    assert work.play().tokens.shape[1] == 16  # the last row of each of 16 minibatches
    assert ours.play().tokens.shape[1] == 128
    assert work.last[..., 1].float().mean() != ours.last[..., 1].float().mean()


def test_a_run_goes_on_where_it_was_interrupted(tmp_path):
    settings = {"updates": 16, "evaluate_every": 8, "checkpoint_every": 8}
    whole, broken = small(**settings), small(**settings)
    whole.run()
    for _ in range(2):
        broken.step()
    checkpoint.save(broken, tmp_path / "state")
    again = small(**settings)
    checkpoint.load(again, tmp_path / "state")
    again.run()
    assert all(torch.equal(whole.parameters[name], again.parameters[name]) for name in whole.parameters)
    assert np.array_equal(whole.said()[1], again.said()[1])


def test_a_trial_plays_the_same_games_alone():
    """With example turns, whose number differs from trial to trial."""
    run = planned("november_repaired", "high", trials=3)
    together, alone = run.trainer(), run.trainer((2,))
    for _ in range(3):
        assert torch.equal(together.play().tokens[2:], alone.play().tokens)
        assert torch.equal(together.last[2:], alone.last)


def test_a_trial_does_not_depend_on_the_others():
    run = planned("return_10", "high", updates=8, trials=3)
    run = replace(run, config=replace(run.config, evaluate_every=0, checkpoint_every=8))
    together, alone = run.trainer(), run.trainer((2,))
    for work in (together, alone):
        work.run()
    for name in together.parameters:
        torch.testing.assert_close(together.parameters[name][2:], alone.parameters[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("changed", "told"), [({"steps": 5}, "steps = 5"), ({"discount": 0.5}, "discount = 0.5"),
                          ({"algorithm": "gaa"}, "algorithm = 'gaa'"), ({"batch": 96}, "batch = 96")]
)  # fmt: skip
def test_what_cannot_be_learned_is_refused(changed, told):
    with pytest.raises(SettingError, match=told):
        small(**changed)


def test_every_prediction_has_a_verdict_and_a_criterion():
    for name, told in read_predictions(verdicts.__file__).items():
        assert set(told) == {"says", "holds_if"}
        assert callable(getattr(verdicts, name))


def test_all_runs_are_stored_and_no_others():
    wanted = {run.path.name for run in programme.all_planned()}
    stored = {path.name for path in programme.FOLDER.glob("*.nc") if not path.name.startswith("pretrained")}
    assert stored == wanted


@pytest.mark.parametrize("name", ["ppo_30_high", "return_fast_0_low", "november_last_high"])
def test_a_stored_run_begins_as_it_is_stored(name):
    data = results.read(programme.FOLDER / f"{name}.nc")
    run = planned(*name.rsplit("_", 1))
    told = results.settings_of(data)
    assert told["config"] == {**yaml.safe_load(yaml.safe_dump(run.config.__dict__)), "device": "cpu"}
    work = run.trainer((0, 1))
    for rollout in range(2):
        work.step()
        for quantity in ("earned", "admissible"):
            found = work.records[-1][quantity]
            assert data[quantity].values[:2, rollout] == pytest.approx(found, abs=2e-2)
