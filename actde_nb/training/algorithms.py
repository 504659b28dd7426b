"""The table of algorithms. A row says what is compared with what and which loss makes of it; nothing
outside this table asks for an algorithm's name."""

from dataclasses import dataclass
from typing import Literal

from actde_nb import checks

Advantage = Literal[
    "gae", "action_conditioned", "return_minus_q", "returns", "leave_one_out", "group_normalised", "none"
]
PolicyLoss = Literal["clipped", "score", "logit", "best_share", "awr", "apa", "none"]
ValueLoss = Literal["clipped", "expectile", "none"]
Greedy = Literal["none", "step", "batch"]


@dataclass(frozen=True)
class Algorithm:
    """One row.

    Args:
        advantage: what the policy learns from. ``"gae"`` compares with v, ``"action_conditioned"`` with q of
            the action taken, ``"return_minus_q"`` the discounted reward up to the rollout's end with that q,
            ``"returns"`` that with nothing;
            ``"leave_one_out"`` and ``"group_normalised"`` compare whole sequences with others.
        policy_loss: ``"clipped"`` is PPO's; ``"score"`` is REINFORCE's; ``"logit"`` moves the logit of the
            action taken alone; ``"best_share"`` keeps the steps with the highest advantage and imitates them;
            ``"awr"`` imitates all, weighted by the exponential of the advantage; ``"apa"`` makes the log-ratio to
            the initial policy a multiple of the advantage.
        value_loss: ``"clipped"`` towards the lambda-return; ``"expectile"`` towards q of the action taken.
        value_coefficient: weight of the value loss.
        q_coefficient: weight of the squared error of q, whose target is the lambda-return computed with v.
        corrected: add the gradient of the policy's expected q, which comparing with q takes away (Gu et al., 2017).
        soft: the price of a nat that is paid for the action itself is no part of q's target, only later ones are.
        greedy: also learn from the likeliest action, in place of the one taken, with weights for each ``"step"`` or
            the same ones for all steps of a ``"batch"``; see :mod:`actde_nb.training.greedy`.
        greedy_ratio: whose probability that part of the loss moves.
        greedy_scales_all: whether the weight of the ordinary part scales the other terms of the loss too.
        greedy_unit: what the lead of the likeliest action is measured in: ``"deviation"`` of the rollout's
            advantages, or ``"reward"``, in which a larger prize is a larger lead.

    Raises:
        SettingError: a negative coefficient.
    """

    advantage: Advantage
    policy_loss: PolicyLoss = "clipped"
    value_loss: ValueLoss = "clipped"
    value_coefficient: float = 0.1  # published trainer, `vf_coef`; the clipped loss has another 1/2 inside
    q_coefficient: float = 0.0
    corrected: bool = False
    soft: bool = False
    greedy: Greedy = "none"
    greedy_ratio: Literal["greedy", "sampled"] = "greedy"
    greedy_scales_all: bool = False
    greedy_unit: Literal["deviation", "reward"] = "deviation"

    @property
    def grouped(self) -> bool:
        """Whether sequences are compared in groups."""
        return self.advantage in ("leave_one_out", "group_normalised")

    @property
    def needs_initial(self) -> bool:
        """Whether it asks what the policy said before training."""
        return self.policy_loss == "apa"

    def __post_init__(self):
        checks.at_least_zero("value_coefficient", self.value_coefficient)
        checks.at_least_zero("q_coefficient", self.q_coefficient)


#: The published trainer has the first three (`ppoLoss`, `actdeLoss`, `rejectLoss`) and the expectile as an option.
ALGORITHMS: dict[str, Algorithm] = {
    "ppo": Algorithm("gae"),
    "actde": Algorithm("action_conditioned", q_coefficient=1.0),  # published trainer, `loss = ... + q_loss`
    "rejection": Algorithm("returns", policy_loss="best_share", value_loss="none"),
    "reinforce": Algorithm("returns", policy_loss="score", value_loss="none"),
    "actde_expectile": Algorithm("action_conditioned", value_loss="expectile", q_coefficient=1.0),
    # One step of plain gradient descent on this row is the post's tabular update; 1/2 makes q's gradient its error.
    "actde_logit": Algorithm("action_conditioned", policy_loss="logit", value_coefficient=1.0, q_coefficient=0.5),
    # The score function of the same error: what the tabular update becomes when it follows the gradient of log pi.
    "actde_score": Algorithm("action_conditioned", policy_loss="score", value_coefficient=1.0, q_coefficient=0.5),
    # Zhu et al. (2023): advantages against v, as PPO's; the regression is on the policy before training.
    "apa": Algorithm("gae", policy_loss="apa"),
    "awr": Algorithm("gae", policy_loss="awr"),
    # Both as they are run on language models, with PPO's loss for several updates from one rollout.
    "rloo": Algorithm("leave_one_out", value_loss="none"),
    "grpo": Algorithm("group_normalised", value_loss="none"),
    # No later critic enters: what came of it, less what was expected of it.
    "actde_return": Algorithm("return_minus_q", q_coefficient=1.0),
    # Q-Prop: what depends on the action in the baseline is given back, and the policy gradient returns.
    "actde_corrected": Algorithm("return_minus_q", q_coefficient=1.0, corrected=True),
    # Greedy-advantage-aware RLHF as its text has it, and with the other terms scaled as well; with one pair of weights
    # for a minibatch; as published (`src/trainer.py`, `learning_phase`), and that without scaling the other terms.
    "gaa": Algorithm("gae", greedy="step"),
    "gaa_scaled": Algorithm("gae", greedy="step", greedy_scales_all=True),
    "gaa_batch": Algorithm("gae", greedy="batch"),
    "gaa_code": Algorithm("gae", greedy="batch", greedy_ratio="sampled", greedy_scales_all=True),
    "gaa_code_unscaled": Algorithm("gae", greedy="batch", greedy_ratio="sampled"),
    # With leads in units of reward.
    "gaa_reward": Algorithm("gae", greedy="step", greedy_unit="reward"),
    "gaa_batch_reward": Algorithm("gae", greedy="batch", greedy_unit="reward"),
    # Learns to predict and nothing else, for policies that are a function of q.
    "critic": Algorithm("none", policy_loss="none", q_coefficient=1.0),
    "soft_critic": Algorithm("none", policy_loss="none", q_coefficient=1.0, soft=True),
}
