"""The table of algorithms: what follows from a row's functions, rows that are refused, a row of one's own."""

from functools import partial

import pytest
import torch

from actde_nb.checks import SettingError
from actde_nb.training import losses
from actde_nb.training.advantages import gae
from actde_nb.training.algorithms import ALGORITHMS, OFFERED, Algorithm, check_part, fill
from actde_nb.training.greedy import GreedyPenalty


def test_what_a_row_needs_follows_from_its_functions():
    def rows(what):
        return {name for name, row in ALGORITHMS.items() if getattr(row, what)}

    of_groups = {"rloo", "grpo", "dr_grpo", "grpo_sequence", "dr_grpo_constant", "clip_cov", "kl_cov"}
    moving, still = {"rebel", "mirror_descent"}, {"vargrad", "a_star_po", "trajectory_balance", "dro"}
    assert rows("compares_groups") == of_groups | moving | {"vargrad"}
    assert rows("needs_reference") == {"apa"} | still
    assert rows("fits_texts") == moving | still
    assert rows("fits_advantages") == {"apa", "awr"} | moving | still
    assert set(ALGORITHMS) - rows("trains_policy") == {"critic", "soft_critic"}
    assert {name for name in ALGORITHMS if "actde" in name or "critic" in name} == rows("learns_q")


def plain(rewards, beta, *, mask, power=2.0):
    return beta * rewards**power * mask


def test_arguments_are_filled_in_by_name():
    rewards, offered = torch.tensor([3.0]), {"beta": 2.0, "mask": 0.5, "power": 7.0, "values": None}
    offered["rewards"] = rewards
    assert fill(plain, offered | {"power": 1.0}) == 3  # 2 * 3 * .5
    # What is not on offer keeps its default, 9 in place of 3; what is set beforehand stays.
    del offered["power"]
    assert fill(plain, offered) == 9
    assert fill(partial(plain, beta=10.0), offered) == 45


def misspelt(rewards, vlaues):
    return rewards


def misspelt_with_default(rewards, maks=None):
    return rewards


def with_own(rewards, *, floor=0.0, mask=None):
    return rewards


def own_without_default(rewards, *, floor):
    return rewards


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"advantage": misspelt}, "advantage = misspelt takes 'vlaues': allowed is a function of some of rewards, "),
        ({"advantage": misspelt_with_default}, "advantage = misspelt_with_default takes 'maks': allowed"),
        ({"advantage": own_without_default}, "takes 'floor': allowed"),
        ({"policy_loss": losses.clipped_value}, "policy_loss = clipped_value takes 'scale': allowed"),
        ({"advantage": None}, "advantage = None: allowed is a function, since policy_loss learns from it"),
        (
            {"value_loss": lambda values, targets: values, "greedy_penalty": GreedyPenalty(scales_all=True)},
            "value_loss takes no 'scale': allowed is one that does",
        ),
        ({"aggregation": "sequence"}, "aggregation = 'sequence': allowed are token"),
        ({"aggregation": "text", "value_loss": None}, "aggregation = 'text': allowed are token, sequence, constant"),
        ({"policy_loss": losses.squared_residual, "value_loss": None}, "aggregation = 'token': allowed are sequence"),
        ({"policy_loss": losses.squared_residual, "aggregation": "sequence"}, "allowed beside it is a value_loss that"),
        ({"anchor": "last"}, "anchor = 'last': allowed are reference, old"),
        ({"q_coefficient": -1.0}, "q_coefficient = -1.0"),
        ({"value_coefficient": float("nan")}, "value_coefficient = nan"),
    ],
)
def test_rows_that_are_refused(parts, message):
    with pytest.raises(SettingError, match=message):
        Algorithm(**{"advantage": gae, **parts})


@pytest.mark.parametrize("part", OFFERED)
def test_a_name_is_no_function(part):
    # Without the run-time checks of types, which are on in tests, construction comes to this.
    with pytest.raises(SettingError, match=f"{part} = 'gae': allowed is a function of some of {OFFERED[part][0]}, "):
        check_part(part, "gae")


def test_a_row_with_settings_of_its_own():
    Algorithm(with_own)
    row = Algorithm(gae, partial(losses.best_share, kept_share=0.5), value_loss=None)
    x = torch.tensor([[[-1.0, -2.0]]])
    offered = {"log_probs": x, "advantages": x, "kept_share": 1.0, "mask": torch.tensor([[[True, True]]])}
    # Half of two steps is the better one, not both as the run has it; and the mask still comes in.
    assert fill(row.policy_loss, offered).item() == 1.0
    offered["mask"] = torch.tensor([[[False, True]]])
    assert fill(row.policy_loss, offered).item() == 2.0
