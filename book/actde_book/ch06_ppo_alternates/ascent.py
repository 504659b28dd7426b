"""One logit gap, climbed by an optimiser whose gradient dies out as the gap grows."""

import sympy as sp
import torch

SPEED, STEP, BETA1, BETA2 = sp.symbols("c eta beta_1 beta_2", positive=True)


def adam_speed() -> sp.Eq:
    """What c must be if Adam's steps are to carry x = c t up the gradient exp(-x), long after the start.

    With gradients exp(-c t), Adam's two running means are geometric series, (1 - beta) times the sum over k of (beta
    exp(j c))^k for the gradient (j = 1) and its square (j = 2); in their ratio exp(-c t) cancels."""

    def series(beta: sp.Symbol, power: int) -> sp.Expr:
        return (1 - beta) / (1 - beta * sp.exp(power * SPEED))

    return sp.Eq(SPEED / STEP, series(BETA1, 1) / sp.sqrt(series(BETA2, 2)))


def climb(optimiser: type[torch.optim.Optimizer], steps: int, **settings) -> float:
    """Where x is after ``steps`` of ``optimiser`` on the loss exp(-x), from zero, in double precision."""
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    walk = optimiser([x], **settings)
    for _ in range(steps):
        walk.zero_grad()
        torch.exp(-x).sum().backward()
        walk.step()
    return x.item()
