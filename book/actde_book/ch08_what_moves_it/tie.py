"""What a policy that is tied to its own action values answers with."""

import numpy as np
from jaxtyping import Float
from scipy.special import softmax

from actde_nb.tables.games import outcome_shares
from actde_nb.tables.mdp import MDP, evaluate


def answer(world: MDP, policy: Float[np.ndarray, "*batch 2 2"], temperature: float) -> np.ndarray | float:
    """Share of alternating games of the softmax of ``policy``'s own q, which is its own at a fixed point."""
    return outcome_shares(softmax(evaluate(world, policy) / temperature, axis=-1))[..., 2]
