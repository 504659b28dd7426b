"""The prisoner's dilemma as a stream of tokens, against play scored by hand."""

import warnings

import numpy as np
import pytest
import torch

from actde_nb.checks import SettingError, finite
from actde_nb.tables.games import PAYOFFS
from actde_nb.worlds import World
from actde_nb.worlds.prisoner import OUTCOMES, NotADilemma, PrisonersDilemma

CCDDC = torch.tensor([[[0, 0, 1, 1, 0]]])


def test_it_is_a_world():
    assert isinstance(PrisonersDilemma(), World)


def test_rewards_are_those_the_source_lists():
    # Turner and Einhorn: ccddc holds the games cc, cd, dd, dc with rewards .5, 2, -.74, -1.76.
    np.testing.assert_allclose(PrisonersDilemma().rewards(CCDDC)[0, 0], [0.5, 2, -0.74, -1.76], atol=0.005)


def test_each_game_type_is_counted_by_the_move_before_and_the_move_now():
    assert OUTCOMES == ("cc", "cd", "dc", "dd")
    tokens = torch.tensor([[[0, 0, 0, 1], [1, 1, 0, 1]], [[0, 1, 0, 1], [1, 1, 1, 1]]])
    # Trial 0: cc, cc, cd and dd, dc, cd.  Trial 1: cd, dc, cd and dd three times.
    expected = torch.tensor([[2, 2, 1, 1], [0, 2, 1, 3]]) / 6
    torch.testing.assert_close(PrisonersDilemma().outcome_shares(tokens), expected)


def test_mean_reward_is_the_shares_times_the_payoffs():
    world = PrisonersDilemma("b=1")
    tokens = torch.randint(2, (3, 5, 40), generator=torch.Generator().manual_seed(0))
    payoffs = torch.tensor(world.payoffs.T.ravel().copy(), dtype=torch.float32)  # [before, now]: cc, cd, dc, dd
    torch.testing.assert_close(world.outcome_shares(tokens) @ payoffs, world.rewards(tokens).float().mean((1, 2)))


def test_statistics_are_averages_over_the_games_after_each_move():
    # Moves c, d, d, c: what the policy said after c, d, d. Probabilities of cooperating .8, .25, .75.
    tokens = torch.tensor([[[0, 1, 1, 0]]])
    cooperate = torch.tensor([0.8, 0.25, 0.75])
    logits = torch.stack([cooperate, 1 - cooperate], -1).log()[None, None]
    q = torch.tensor([[[[3.0, 1.0], [0.0, 1.0], [0.0, 4.0]]]])
    seen = PrisonersDilemma().statistics(tokens, logits, q)
    torch.testing.assert_close(seen["cooperation"], torch.tensor([[0.8, 0.5]]))
    # ln 4 after c; ln 1/3 and ln 3 after d cancel.
    torch.testing.assert_close(seen["logit_gap"], torch.tensor([[np.log(4.0), 0.0]], dtype=torch.float32))
    torch.testing.assert_close(seen["q_gap"], torch.tensor([[2.0, -2.5]]))
    assert set(seen) == set(PrisonersDilemma.labels)


def test_a_move_that_never_came_up_has_no_average():
    seen = PrisonersDilemma().statistics(torch.zeros(1, 1, 3, dtype=torch.long), *torch.zeros(2, 1, 1, 2, 2))
    assert seen["cooperation"][0, 0] == 0.5
    assert seen["cooperation"][0, 1].isnan()


def test_it_is_who_it_is_by_its_payoffs():
    world = PrisonersDilemma()
    assert world.identity == PrisonersDilemma(PAYOFFS["main"].copy(), warn=False).identity == repr(world)
    nearly = PAYOFFS["main"] + np.array([[0, 0], [1e-12, 0]])
    assert len({PrisonersDilemma(payoffs).identity for payoffs in (*PAYOFFS, nearly)}) == len(PAYOFFS) + 1


def test_first_moves_are_even():
    torch.testing.assert_close(
        PrisonersDilemma().start(torch.tensor([[0.0, 0.49, 0.5, 0.99]])), torch.tensor([[0, 0, 1, 1]])
    )


@pytest.mark.parametrize(
    ("payoffs", "message"),
    [
        ("chicken", "payoffs = 'chicken': allowed are main, "),
        ([[1.0, 2.0], [3.0]], r"payoffs = \[\[1.0, 2.0\], \[3.0\]\]: allowed are arrays of finite numbers"),
        ([[1.0, 2.0, 3.0]], r"payoffs has shape \(1, 3\): allowed is \(2, 2\)"),
        ([[1.0, 2.0], [3.0, float("nan")]], "allowed are finite numbers"),
    ],
)
def test_bad_payoffs_are_refused(payoffs, message):
    with pytest.raises(ValueError, match=message):
        PrisonersDilemma(payoffs)


def test_payoffs_that_are_text_are_refused():
    # Asked of the check itself: the types' checker looks at entries drawn at random and at times refuses them first.
    with pytest.raises(SettingError, match=r"payoffs = \[\['a', 1.0\].*: allowed are arrays of finite numbers"):
        finite("payoffs", [["a", 1.0], [2.0, 3.0]])


def test_only_payoffs_that_are_no_dilemma_warn():
    no_temptation = [[2.0, -1.0], [0.5, 0.0]]
    with pytest.warns(NotADilemma, match="temptation"):
        PrisonersDilemma(no_temptation)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PrisonersDilemma(no_temptation, warn=False)
        for name in PAYOFFS:
            PrisonersDilemma(name)
