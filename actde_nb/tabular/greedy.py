"""Greedy-advantage-aware RLHF (GAA) in one state: its coefficients, its expected update, and where that leads.

GAA adds to PPO's update a second one, for the *greedy* token: the most probable one, whether or not it was sampled.
Both are scaled, by a and b, functions of the greedy token's probability eta and of how many standard deviations its
advantage lies above that of the sampled token, sigma.

Source: S. Johnson, "Greedy Advantage Aware RLHF", README and code of ``sej2020/Greedy-Adv-Aware-RLHF``.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from actde_nb.tabular import checks

TEXT_SIGMA = 0.5  # the text's formula has sigma / 2

Coefficients = Float[np.ndarray, "*shape"] | float


def coefficients(
    eta: ArrayLike, sigma: ArrayLike, *, x_eta: float = 1.0, x_sigma: float = TEXT_SIGMA, cut: bool = True
) -> tuple[Coefficients, Coefficients]:
    """GAA's factors: ``a`` of PPO's update and ``b`` of the greedy token's.

    With ``e = x_eta * eta`` and ``s = x_sigma * sigma``::

        a = (1 - e) (1 + s) + e (1 - s)^10
        b = -(1 - e) s + e ((1 - s)^10 - 1)

    The text has ``x_eta = 1`` and ``x_sigma = 1/2``, gives ``eta`` and ``sigma`` for each token, and does not cut. The
    code replaces ``eta`` and ``sigma`` by their means over a minibatch, cuts them to ``[0, 1 / x_eta]`` and
    ``[0, 1 / x_sigma]``, so that e and s stay in [0, 1], and only then applies the formula, to two scalars. Its
    default is ``x_eta = x_sigma = 1``; its scripts have (x_sigma, x_eta) = (3, 2), (6, 1), (3, 1.25) and (1.5, 1).
    It uses b on the ratio of the *sampled* token's probabilities, and a on PPO's whole objective (surrogate, value
    loss, KL penalty, entropy bonus); the text uses b on the greedy token's ratio and a on "the conventional update".

    Args:
        eta: probability of the greedy token, any shape.
        sigma: advantage of the greedy token minus that of the sampled one, in standard deviations of the batch's
            advantages; broadcasts with ``eta``.
        x_eta: factor of ``eta``.
        x_sigma: factor of ``sigma``.
        cut: keep e and s in [0, 1]. Within, a is in [0, 2] and b in [-1, 0]; outside both explode.

    Returns:
        a and b.

    Raises:
        ValueError: a number that is not finite, a factor of zero or less.
    """
    share = checks.positive("x_eta", x_eta) * checks.finite("eta", eta)
    gain = checks.positive("x_sigma", x_sigma) * checks.finite("sigma", sigma)
    if cut:
        share, gain = share.clip(0, 1), gain.clip(0, 1)
    decay = (1 - gain) ** 10
    return (1 - share) * (1 + gain) + share * decay, -(1 - share) * gain + share * (decay - 1)
