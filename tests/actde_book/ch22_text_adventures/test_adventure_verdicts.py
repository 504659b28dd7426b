"""Verdicts on made-up runs, whose numbers say what the verdict must be."""

import numpy as np
import pytest
import xarray as xr
from actde_book.ch22_text_adventures import run_figures, verdicts
from actde_book.ch22_text_adventures.programme import HOLDS, RATES, arms

QUANTITIES = ("blue", "commands", "divergence", "entropy", "invalid", "red", "score", "wins")
JITTER = np.linspace(-0.01, 0.01, 10)  # of the trials, so that there is a spread


def run(wins: float = 0.5, red: float = 0.5, entropy: float = 3.0, invalid: float = 0.1, split: bool = False):
    """Ten trials; ``red`` is that coin's share of the wins, with ``split`` in half of the trials the other one's."""
    share = np.where(np.arange(10) % 2, 1 - red, red) if split else np.full(10, red)
    won = (wins + JITTER * (wins > 0)).clip(0, 1)
    numbers = {"red": share * won, "blue": (1 - share) * won, "wins": won, "entropy": entropy + JITTER,
               "invalid": invalid + JITTER}  # fmt: skip
    exact = np.stack([np.broadcast_to(numbers.get(name, 0.0), 10) for name in QUANTITIES], -1)
    both = np.stack([np.full_like(exact, 0.3), exact], 1)
    data = xr.Dataset({"exact": (("trial", "evaluated", "exact_quantity"), both)})
    return data.assign_coords(evaluated=[0, 384], exact_quantity=list(QUANTITIES))


GRID = {name: {} for name in arms() if name.startswith("published")}
PICKS = {"wins": 0.97, "red": 0.02, "split": True}
BOX = [name for name in arms() if name.startswith("box")]

#: prediction -> settings of arms with which it holds, and changes with which it does not
CASES = {
    "ppo_picks_a_coin": ({"ppo_0": PICKS}, [{"ppo_0": {"wins": 0.97, "red": 0.3}}, {"ppo_0": PICKS | {"wins": 0.8}}]),
    "kl_keeps_both": ({"ppo_0": PICKS, "ppo_30": {"red": 0.4}}, [{"ppo_30": PICKS}]),
    "return_picks_a_coin": ({"return_0": PICKS}, [{"return_0": {"wins": 0.99}}]),
    "fast_q_stays_wide": (
        {"return_fast_0": {"wins": 0.6, "entropy": 6.0}, "ppo_fast_0": {"wins": 0.95, "entropy": 1.0}},
        [{"return_fast_0": {"wins": 0.6, "entropy": 1.0}}, {"return_fast_0": {"wins": 0.97, "entropy": 6.0}}],
    ),
    "published_actde_fails": (
        {name: {"wins": 0.1} for name in ("actde_000", "actde_095", "actde_095_10")}, [{"actde_095": {"wins": 0.25}}],
    ),
    "cut_trace_sinks": (
        {"published_sparse_cut_none_all": {"wins": 0.03, "invalid": 0.8}},
        [{"published_sparse_cut_none_all": {"wins": 0.03, "invalid": 0.2}},
         {"published_sparse_cut_none_all": {"wins": 0.3, "invalid": 0.8}}],
    ),
    "carried_trace_wins": (
        {"published_sparse_carried_none_all": {"wins": 0.9}, "published_sparse_cut_none_all": {"wins": 0.1}},
        [{"published_sparse_carried_none_all": {"wins": 0.1}}],
    ),
    "kl_rescues": (
        {"published_sparse_cut_kl_all": {"wins": 0.9}, "published_sparse_cut_none_all": {"wins": 0.1}},
        [{"published_sparse_cut_kl_all": {"wins": 0.05}}],
    ),
    "fine_rescues": (
        {"published_sparse_cut_fine_all": {"wins": 0.9}, "published_sparse_cut_none_all": {"wins": 0.1}},
        [{"published_sparse_cut_fine_all": {"wins": 0.1}}],
    ),
    "last_only_harms": (
        {name: {"wins": 0.8 if name.endswith("all") else 0.4} for name in GRID},
        [{"published_dense_cut_kl_last": {"wins": 0.8}}],
    ),
    "minibatch_fault_alone": (
        {"november_last": {"wins": 0.05}, "november_repaired": {"wins": 0.5}},
        [{"november_last": {"wins": 0.2}}, {"november_repaired": {"wins": 0.05}}],
    ),
    "letters_never_win": ({"letters": {"wins": 0.0}, "letters_repaired": {"wins": 0.0}}, [{"letters": {"wins": 0.1}}]),
    "box_stops_finishing": (
        {name: {"wins": 0.02 if name.endswith("90") else 0.8} for name in BOX},
        [{"box_return_10_90": {"wins": 0.4}}, {"box_ppo_60": {"wins": 0.4}}],
    ),
    "order_is_picked": ({"coins_ppo_0": PICKS}, [{"coins_ppo_0": {"wins": 0.97, "red": 0.3}}]),
}  # fmt: skip


def reader(settings: dict[str, dict]):
    return lambda arm, rate: run(**settings.get(arm, {}))


@pytest.mark.parametrize("name", CASES)
def test_a_verdict_can_fall_either_way(name: str):
    settings, spoiled = CASES[name]
    judge = getattr(verdicts, name)
    assert judge(reader(settings)).held
    assert not any(judge(reader(settings | change)).held for change in spoiled)


def test_every_prediction_is_judged_on_the_stored_runs():
    assert list(verdicts.judge()) == list(CASES)


def test_trials_without_a_win_have_no_rarer_coin():
    rarer = verdicts.end(run(wins=0.0), "rarer")
    assert np.isnan(rarer).all()
    assert verdicts.picked(run(wins=0.0)) == 0
    assert verdicts.end(run(wins=0.5, red=0.25), "rarer") == pytest.approx(np.full(10, 0.25))


def test_figures_have_a_mark_for_each_trial():
    made = {rate: run(split=True) for rate in RATES}
    drawn = run_figures.by_trial({"one": made, "other": made}, "wins", "games won")
    marks = [line for line in drawn.axes[0].lines if len(line.get_xdata()) == 10]
    assert len(marks) == 4
    assert [text.get_text() for text in drawn.axes[0].get_yticklabels()] == ["one", "other"]
    grid = run_figures.published_grid({
        reward: {hold: dict.fromkeys(("all", "last"), made) for hold in HOLDS} for reward in ("sparse", "dense")
    })  # fmt: skip
    assert [axes.get_title("left") for axes in grid.axes] == ["sparse", "dense"]
    both = run_figures.coins_and_wins({"PPO": made, "return − q": made})
    assert both.axes[0].lines[0].get_xdata() == pytest.approx(np.where(np.arange(10) % 2, 0.5, 0.5))
