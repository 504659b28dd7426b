"""Speed of the tabular decision processes: sampled steps per second, fixed points per second.

Run as ``python benchmarks/mdp.py``; one core is enough.
"""

import time

import numpy as np
from actde_book.ch04_more_than_one_state.examples import ring, stay_or_quit, two_action_prior
from actde_book.ch04_more_than_one_state.flow import mean_field
from actde_book.ch04_more_than_one_state.learner import simulate

from actde_nb.tables.bandit import StepSize
from actde_nb.tables.fixed_points import fixed_points
from actde_nb.tables.games import PAYOFFS, prisoners_dilemma

STEPS, RUNS = 2000, 1000


def seconds(call, repeats: int = 3) -> float:
    """Shortest of a few timings."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    rng, step = np.random.default_rng(0), StepSize(0.05)
    worlds = {"prisoner's dilemma": prisoners_dilemma(PAYOFFS["main"]), "ring, with ends": ring()}
    for world, mdp in worlds.items():
        for bootstrap in ("expected", "sampled", "max", "soft", "value"):
            fields = {"value_step": step} if bootstrap == "value" else {}
            spent = seconds(
                lambda mdp=mdp, bootstrap=bootstrap, fields=fields: simulate(
                    mdp,
                    policy_step=step,
                    critic_step=step,
                    steps=STEPS,
                    runs=RUNS,
                    rng=rng,
                    bootstrap=bootstrap,
                    record_at=[STEPS],
                    **fields,
                )
            )
            print(f"simulate, {world}, {bootstrap}: {STEPS * RUNS / spent / 1e6:.1f} million run-steps per second")
    for world, mdp in {"three roots": stay_or_quit(0.2, 0.98), **worlds}.items():
        spent = seconds(lambda mdp=mdp: fixed_points(mdp, 1.0, rng=rng))
        print(f"fixed_points, {world}: {1e3 * spent:.0f} ms")
    prior, start, times = (
        two_action_prior(14.0),
        np.array([[-14.0, 0], [-13.9, 0], [-14.2, 0]]),
        np.linspace(0, 100, 101),
    )
    spent = seconds(lambda: mean_field(ring(), 1.0, start, times, prior=prior))
    print(f"mean_field, ring to time 100: {1e3 * spent:.0f} ms")


if __name__ == "__main__":
    main()
