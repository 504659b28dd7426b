"""Speed of the bandit simulator beside a plain Python loop, in run-steps (episodes times runs) a second.

Run with ``python benchmarks/bandit.py``; both figures are for one core.
"""

import math
import random
import time

import numpy as np

from actde_nb.tables.bandit import Bandit, actde, ppo_like, simulate

RUNS, EPISODES, LOOP_EPISODES, REPEATS = 1_000, 3_000, 200_000, 5
WANTED = 10e6


def plain_python(rewards: list[float], episodes: int) -> float:
    """The ordinary rule with unit steps, one run; returns the logit gap."""
    draw, logits, value = random.Random(0).random, [0.0, 0.0], 0.0
    for _ in range(episodes):
        first, second = (math.exp(logit) for logit in logits)
        arm = 0 if draw() < first / (first + second) else 1
        error = rewards[arm] - value
        logits[arm] += error
        value += error
    return logits[0] - logits[1]


def best_rate(work, steps: int) -> float:
    """Steps a second in the fastest of a few repeats, which is the one least disturbed."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return steps / min(seconds)


def main() -> None:
    bandit = Bandit([1.0, 0.5])
    loop = best_rate(lambda: plain_python([1.0, 0.5], LOOP_EPISODES), LOOP_EPISODES)
    print(f"{'plain Python, one run':28}{loop / 1e6:8.1f} million a second")
    for name, rule in {"ordinary TD error": ppo_like(), "action-conditioned": actde()}.items():
        rng = np.random.default_rng(0)
        rate = best_rate(
            lambda rule=rule, rng=rng: simulate(bandit, rule, episodes=EPISODES, rng=rng, runs=RUNS), RUNS * EPISODES
        )
        verdict = "" if rate >= WANTED else f", wanted {WANTED / 1e6:.0f}"
        print(f"{f'{name}, {RUNS:,} runs':28}{rate / 1e6:8.1f} million a second, {rate / loop:.0f} times that{verdict}")


if __name__ == "__main__":
    main()
