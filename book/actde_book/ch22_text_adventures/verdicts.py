"""What became of each prediction in ``predictions.yml``, as an expression over the stored runs."""

from collections.abc import Callable
from functools import cache

import numpy as np
import xarray as xr
from jaxtyping import Float

from actde_book.ch22_text_adventures.programme import FOLDER, HOLDS, RATES
from actde_nb.compare import intervals
from actde_nb.compare.intervals import Estimate
from actde_nb.compare.verdicts import Verdict, read_predictions
from actde_nb.experiments import results

PICKED, MOST = 0.1, 8  # share of the rarer coin, and trials, from which on a coin counts as picked
LEARNS = 0.1  # wins from which on an arm counts as winning at all

Trials = Float[np.ndarray, "trial"]
Read = Callable[[str, str], xr.Dataset]


@cache
def stored(arm: str, rate: str) -> xr.Dataset:
    """The stored run of an arm at a rate."""
    return results.read(FOLDER / f"{arm}_{rate}.nc")


def at_rates(arm: str) -> dict[str, xr.Dataset]:
    """The stored runs of an arm by rate."""
    return {rate: stored(arm, rate) for rate in RATES}


def pretrained(name: str) -> xr.Dataset:
    """The stored runs of the pretrained player by their name, a trial for each seed."""
    files = sorted(FOLDER.glob(f"pretrained_{name}_[0-9].nc"))
    return xr.concat(map(results.read, files), "trial", join="exact", combine_attrs="drop_conflicts")


def curve(data: xr.Dataset, quantity: str) -> Float[np.ndarray, "trial evaluated"]:
    """An exact number at each evaluation; ``rarer`` is the share of the rarer coin in the wins, NaN where none is
    won, and ``given`` is the number of commands in a game."""
    if quantity == "rarer":
        both = np.stack([curve(data, coin) for coin in ("red", "blue")])
        return np.divide(both.min(0), both.sum(0), out=np.full(both.shape[1:], np.nan), where=both.sum(0) > 1e-6)
    name = "commands" if quantity == "given" else quantity
    return data["exact"].sel(exact_quantity=name).values.astype(np.float64)


def end(data: xr.Dataset, quantity: str) -> Trials:
    """The exact number at the end of a run."""
    return curve(data, quantity)[:, -1]


def judge(read: Read = stored) -> dict[str, Verdict]:
    """A verdict on each prediction, in the order of the file."""
    return {name: globals()[name](read) for name in read_predictions(__file__)}


def ppo_picks_a_coin(read: Read) -> Verdict:
    """See predictions.yml for this and the following."""
    return _wins_and_picks(read("ppo_0", "high"))


def kl_keeps_both(read: Read) -> Verdict:
    return _more(read, "rarer", "ppo_30", "ppo_0")


def return_picks_a_coin(read: Read) -> Verdict:
    return _wins_and_picks(read("return_0", "high"))


def fast_q_stays_wide(read: Read) -> Verdict:
    wins = _more(read, "wins", "ppo_fast_0", "return_fast_0")
    wide = _more(read, "entropy", "return_fast_0", "ppo_fast_0")
    named = {f"wins_{k}": v for k, v in wins.numbers.items()} | {f"entropy_{k}": v for k, v in wide.numbers.items()}
    return Verdict(wins.held and wide.held, named)


def published_actde_fails(read: Read) -> Verdict:
    found = _means(read, ("actde_000", "actde_095", "actde_095_10"))
    return Verdict(max(found.values()) < 0.2, found)


def cut_trace_sinks(read: Read) -> Verdict:
    arm = "published_sparse_cut_none_all"
    wins = {f"wins_{rate}": float(end(read(arm, rate), "wins").mean()) for rate in RATES}
    lost = {f"invalid_{rate}": float(end(read(arm, rate), "invalid").mean()) for rate in RATES}
    return Verdict(max(wins.values()) < 0.1 and min(lost.values()) > 0.5, wins | lost)


def carried_trace_wins(read: Read) -> Verdict:
    return _more(read, "wins", "published_sparse_carried_none_all", "published_sparse_cut_none_all")


def kl_rescues(read: Read) -> Verdict:
    return _more(read, "wins", "published_sparse_cut_kl_all", "published_sparse_cut_none_all")


def fine_rescues(read: Read) -> Verdict:
    return _more(read, "wins", "published_sparse_cut_fine_all", "published_sparse_cut_none_all")


def last_only_harms(read: Read) -> Verdict:
    asked, fewer = 0, 0
    for reward in ("sparse", "dense"):
        for trace in ("cut", "carried"):
            for hold in HOLDS:
                for rate in RATES:
                    every, last = (
                        end(read(f"published_{reward}_{trace}_{hold}_{rows}", rate), "wins") for rows in ("all", "last")
                    )
                    if every.mean() >= LEARNS:
                        asked += 1
                        fewer += intervals.difference(every, last).low > 0
    return Verdict(asked == fewer, {"asked": asked, "fewer": fewer})


def minibatch_fault_alone(read: Read) -> Verdict:
    last, repaired = (end(read(f"november_{name}", "high"), "wins") for name in ("last", "repaired"))
    more, won = intervals.difference(repaired, last), float(last.mean())
    return Verdict(won < 0.1 and more.low > 0, {"last": won, "more": more})


def letters_never_win(read: Read) -> Verdict:
    found = _means(read, ("letters", "letters_repaired"))
    return Verdict(max(found.values()) < 0.05, found)


def box_stops_finishing(read: Read) -> Verdict:
    above = _means(read, ("box_ppo_90", "box_ppo_30_90", "box_return_10_90"))
    below = float(end(read("box_ppo_60", "high"), "wins").mean())
    return Verdict(max(above.values()) < 0.1 and below > 0.5, above | {"box_ppo_60_high": below})


def order_is_picked(read: Read) -> Verdict:
    return _wins_and_picks(read("coins_ppo_0", "high"))


def picked(data: xr.Dataset) -> int:
    """In how many trials the rarer coin has next to none of the wins."""
    return int((end(data, "rarer") < PICKED).sum())


def _wins_and_picks(data: xr.Dataset) -> Verdict:
    wins, trials = float(end(data, "wins").mean()), picked(data)
    return Verdict(wins >= 0.9 and trials >= MOST, {"wins": wins, "picked": trials})


def _more(read: Read, quantity: str, arm: str, other: str) -> Verdict:
    """Whether an arm has more of a quantity than another at both rates; trials without a win have no rarer coin."""
    found: dict[str, float | Estimate] = {}
    for rate in RATES:
        both = [end(read(name, rate), quantity) for name in (arm, other)]
        found[rate] = intervals.difference(*(samples[np.isfinite(samples)] for samples in both))
    return Verdict(all(more.low > 0 for more in found.values()), found)


def _means(read: Read, arms: tuple[str, ...]) -> dict[str, float]:
    return {f"{arm}_{rate}": float(end(read(arm, rate), "wins").mean()) for arm in arms for rate in RATES}
