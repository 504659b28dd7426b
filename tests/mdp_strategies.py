"""Random finite decision processes for property tests."""

import numpy as np
from hypothesis import strategies as st

from actde_nb.tables.mdp import MDP


@st.composite
def mdps(draw, *, continuing: bool | None = None, most_states: int = 4, discounts=(0.0, 0.95)) -> MDP:
    """Random processes; rows of about half of them lack mass, which ends the episode."""
    states = draw(st.integers(1, most_states))
    actions = draw(st.integers(2, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ends = draw(st.booleans()) if continuing is None else not continuing
    transitions = rng.dirichlet(np.full(states + ends, 0.7), size=(states, actions))[..., :states]
    rewards = rng.normal(0, draw(st.sampled_from([0.1, 1.0, 5.0])), (states, actions))
    return MDP(rewards, transitions, draw(st.floats(*discounts)))


@st.composite
def mdps_and_policies(draw, **kwargs):
    mdp = draw(mdps(**kwargs))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return mdp, rng.dirichlet(np.ones(mdp.shape[1]), size=(2, mdp.shape[0]))
