"""The table of algorithms. A row holds the functions that an algorithm is made of; what they take is filled in by the
names of their arguments, so that a new algorithm is a pure function and a row. Nothing outside asks for a row's name.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from torch import Tensor

from actde_nb import checks
from actde_nb.checks import SettingError
from actde_nb.training import advantages, losses
from actde_nb.training.greedy import GreedyPenalty

#: Settings of the run that the functions of a row may take; :class:`~actde_nb.training.config.TrainingSettings`
#: explains them.
SETTINGS = (
    "discount", "gae_lambda", "group_size", "clip", "clip_high", "value_clip", "expectile", "kept_share", "beta",
    "largest_weight", "covariance_share", "optimal_value", "steps",
)  # fmt: skip
#: Arrays of the :class:`~actde_nb.training.rollout.Rollout` that an advantage may take.
OF_ROLLOUT = ("rewards", "values", "next_value", "q_taken", "mask")
#: Arrays that a loss may take. Of the actions taken, now: ``log_probs``, ``logits_taken``, ``values``. In the rollout:
#: ``old_log_probs``, ``old_values``, ``q_taken``. Before training: ``reference_log_probs``. One of the two, by the
#: row's anchor: ``anchor_log_probs``. To learn from: ``advantages``, whitened if the run says so, and ``targets``, the
#: lambda-returns.
OF_LOSS = (
    "log_probs", "logits_taken", "values", "old_log_probs", "old_values", "q_taken", "reference_log_probs",
    "anchor_log_probs", "advantages", "targets", "mask",
)  # fmt: skip
#: By part of a row. A policy loss may take the row's ``aggregation`` too, a value loss ``scale``, a weight of a step.
OFFERED = {
    "advantage": (*OF_ROLLOUT, *SETTINGS),
    "policy_loss": (*OF_LOSS, "aggregation", *SETTINGS),
    "value_loss": (*OF_LOSS, "scale", *SETTINGS),
}


@cache
def arguments(function: Callable[..., Tensor]) -> tuple[str, ...]:
    """Names of what a function takes, but for what a ``functools.partial`` has set already."""
    preset = getattr(function, "keywords", {})
    return tuple(name for name in inspect.signature(function).parameters if name not in preset)


def fill(function: Callable[..., Tensor], offered: Mapping[str, Any]) -> Tensor:
    """Call a function with those of ``offered`` that it takes."""
    return function(**{name: offered[name] for name in arguments(function) if name in offered})


def check_part(part: str, function: Any) -> None:
    """Raise SettingError unless ``function`` can be the part of a row that is called ``part``."""
    allowed = f"allowed is a function of some of {', '.join(OFFERED[part])}"
    if not callable(function):
        raise SettingError(f"{part} = {function!r}: {allowed}")
    for name, argument in inspect.signature(function).parameters.items():
        own = argument.kind is argument.KEYWORD_ONLY and argument.default is not argument.empty
        if name not in OFFERED[part] and not own:
            called = getattr(function, "__name__", repr(function))
            rest = "and after a * of arguments of its own with defaults"
            raise SettingError(f"{part} = {called} takes {name!r}: {allowed}, {rest}")


@dataclass(frozen=True)
class Algorithm:
    """One row. Of the functions' arguments, those in :data:`OFFERED` are filled in; others, which must come after a
    ``*`` and have defaults, keep these."""

    advantage: Callable[..., Tensor] | None  # in units of reward; None if no policy is trained
    policy_loss: Callable[..., Tensor] | None = losses.clipped_surrogate  # None trains no policy
    value_loss: Callable[..., Tensor] | None = losses.clipped_value  # None trains no v
    value_coefficient: float = 0.1  # published trainer, `vf_coef`; the clipped loss has another 1/2 inside
    q_coefficient: float = 0.0  # of the squared error of q, whose target is the lambda-return computed with v
    corrected: bool = False  # add the gradient of the expected q, which comparing with q takes away (Gu et al., 2017)
    soft: bool = False  # the price of a nat for the action itself is no part of q's target, only later ones are
    greedy_penalty: GreedyPenalty | None = None  # learn from the likeliest action too, in place of the one taken
    anchor: str = "reference"  # what residuals of whole texts are anchored at: "reference", or "old", which moves
    aggregation: str = "token"  # how steps become one number, in the divergence and entropy of the loss too

    def __post_init__(self):
        for part in OFFERED:
            if getattr(self, part) is not None:
                check_part(part, getattr(self, part))
        if self.trains_policy and self.advantage is None:
            raise SettingError("advantage = None: allowed is a function, since policy_loss learns from it")
        scales_all = self.greedy_penalty is not None and self.greedy_penalty.scales_all
        if scales_all and self.value_loss is not None and "scale" not in arguments(self.value_loss):
            raise SettingError("value_loss takes no 'scale': allowed is one that does, since the penalty scales_all")
        checks.one_of("anchor", self.anchor, ("reference", "old"))
        self._check_aggregation()
        checks.at_least_zero("value_coefficient", self.value_coefficient)
        checks.at_least_zero("q_coefficient", self.q_coefficient)

    def _check_aggregation(self) -> None:
        # All terms are means of one kind, so that a batch's loss can be put together from that of its pieces.
        parts = [set(arguments(part)) for part in (self.policy_loss, self.value_loss) if part is not None]
        alone = not (self.learns_q or self.corrected or self.greedy_penalty)
        alone = alone and all({"aggregation", "anchor_log_probs"} & taken for taken in parts)
        if self.fits_texts and not alone:
            raise SettingError("policy_loss takes 'anchor_log_probs': allowed beside it is a value_loss that does")
        allowed = ("sequence",) if self.fits_texts else losses.AGGREGATIONS if alone else ("token",)
        checks.one_of("aggregation", self.aggregation, allowed)

    @property
    def trains_policy(self) -> bool:
        """Whether there is a policy to train, and not only predictions."""
        return self.policy_loss is not None

    @property
    def learns_q(self) -> bool:
        """Whether q is trained."""
        return self.q_coefficient > 0

    @property
    def compares_groups(self) -> bool:
        """Whether sequences are compared in groups."""
        return self.takes("group_size")

    @property
    def needs_reference(self) -> bool:
        """Whether it asks what the policy said before training."""
        anchored = self.fits_texts and self.anchor == "reference"
        return anchored or (self.trains_policy and "reference_log_probs" in arguments(self.policy_loss))

    @property
    def fits_texts(self) -> bool:
        """Whether the policy is fitted to the rewards of whole texts, so that ``beta`` is the price of a nat."""
        return self.trains_policy and "anchor_log_probs" in arguments(self.policy_loss)

    def takes(self, name: str) -> bool:
        """Whether its advantage or its policy's loss asks for what is called so."""
        return any(name in arguments(part) for part in (self.advantage, self.policy_loss) if part is not None)

    @property
    def fits_advantages(self) -> bool:
        """Whether the policy is fitted to advantages in units of ``beta``, which whitening would change."""
        return self.trains_policy and "beta" in arguments(self.policy_loss)


#: Conditioned on the action, with the policy loss and coefficients by which the tables move in batches.
_TABULAR = {"value_coefficient": 1.0, "q_coefficient": 0.5}  # 1/2 makes q's gradient its error
_PUBLISHED = {"per_batch": True, "sampled_ratio": True}  # of the penalty
_TEXTS, _TEXTS_AND_V = ({"value_loss": v, "aggregation": "sequence"} for v in (None, losses.value_residual))
# By what V is: a mean over a group, in the advantages, or v.
_PAIRS = partial(losses.squared_residual, values=None)
_KNOWN = partial(_PAIRS, group_size=None)
_LEARNED = partial(losses.squared_residual, group_size=None)
_WHOLE = partial(advantages.returns, discount=1.0)  # of which a text's first step counts: all it earns

#: The published trainer has the first three (`ppoLoss`, `actdeLoss`, `rejectLoss`) and the expectile as an option.
ALGORITHMS: dict[str, Algorithm] = {
    "ppo": Algorithm(advantages.gae),
    "actde": Algorithm(advantages.action_conditioned, q_coefficient=1.0),  # published trainer, `loss = ... + q_loss`
    "rejection": Algorithm(advantages.returns, losses.best_share, value_loss=None),
    "reinforce": Algorithm(advantages.returns, losses.score_function, value_loss=None),
    "actde_expectile": Algorithm(advantages.action_conditioned, value_loss=losses.expectile_value, q_coefficient=1.0),
    # One step of plain gradient descent on this row is the post's tabular update.
    "actde_logit": Algorithm(advantages.action_conditioned, losses.logit_step, **_TABULAR),
    # The score function of the same error: what the tabular update becomes when it follows the gradient of log pi.
    "actde_score": Algorithm(advantages.action_conditioned, losses.score_function, **_TABULAR),
    # Zhu et al. (2023): advantages against v, as PPO's; the regression is on the policy before training.
    "apa": Algorithm(advantages.gae, losses.advantage_induced),
    "awr": Algorithm(advantages.gae, losses.advantage_weighted),
    # All three as they are run on language models, with PPO's loss for several updates from one rollout.
    "rloo": Algorithm(advantages.leave_one_out, value_loss=None),
    "grpo": Algorithm(advantages.group_normalised, value_loss=None),
    "dr_grpo": Algorithm(advantages.group_centred, value_loss=None),
    # The same two as their papers sum up a text; the mean over all tokens above is DAPO's, which has `clip_high` too.
    "grpo_sequence": Algorithm(advantages.group_normalised, value_loss=None, aggregation="sequence"),
    "dr_grpo_constant": Algorithm(advantages.group_centred, value_loss=None, aggregation="constant"),
    # As they are run on language models, on GRPO's advantages.
    "clip_cov": Algorithm(advantages.group_normalised, losses.clip_cov, value_loss=None),
    "kl_cov": Algorithm(advantages.group_normalised, losses.kl_cov, value_loss=None),
    # No later critic enters: what came of it, less what was expected of it.
    "actde_return": Algorithm(advantages.return_minus_q, q_coefficient=1.0),
    # Q-Prop: what depends on the action in the baseline is given back, and the policy gradient returns.
    "actde_corrected": Algorithm(advantages.return_minus_q, q_coefficient=1.0, corrected=True),
    # Greedy-advantage-aware RLHF as its text has it, and with the other terms scaled as well; with one pair of weights
    # for a minibatch; as published (`src/trainer.py`, `learning_phase`), and that without scaling the other terms.
    "gaa": Algorithm(advantages.gae, greedy_penalty=GreedyPenalty()),
    "gaa_scaled": Algorithm(advantages.gae, greedy_penalty=GreedyPenalty(scales_all=True)),
    "gaa_batch": Algorithm(advantages.gae, greedy_penalty=GreedyPenalty(per_batch=True)),
    "gaa_code": Algorithm(advantages.gae, greedy_penalty=GreedyPenalty(**_PUBLISHED, scales_all=True)),
    "gaa_code_unscaled": Algorithm(advantages.gae, greedy_penalty=GreedyPenalty(**_PUBLISHED)),
    # With leads in units of reward.
    "gaa_reward": Algorithm(advantages.gae, greedy_penalty=GreedyPenalty(in_rewards=True)),
    "gaa_batch_reward": Algorithm(advantages.gae, greedy_penalty=GreedyPenalty(per_batch=True, in_rewards=True)),
    # One residual of whole texts. Anchored at the policy that played, it moves on for ever: REBEL (Gao et al., 2024,
    # arXiv 2404.16767), on all pairs of a group, and the mirror descent of Kimi k1.5 (2025, arXiv 2501.12599), against
    # a group's mean reward.
    "rebel": Algorithm(advantages.group_centred, _PAIRS, anchor="old", **_TEXTS),
    "mirror_descent": Algorithm(advantages.group_centred, partial(_KNOWN, per_nat=True), anchor="old", **_TEXTS),
    # Anchored at the policy before training, it rests at the best policy at a price of `beta`. V is a group's mean of
    # all else (VarGrad: Richter et al., 2020, arXiv 2010.10436; on language models: Bartoldson et al., 2025, arXiv
    # 2503.18929), over the batch if that is one group; or worked out before, here once for all prompts (A*-PO: Brantley
    # et al., 2025, arXiv 2505.20686).
    "vargrad": Algorithm(advantages.group_centred, _PAIRS, **_TEXTS),
    "a_star_po": Algorithm(advantages.above_optimum, _KNOWN, **_TEXTS),
    # Or v, which is learned. In trajectory balance (Malkin et al., 2022, arXiv 2201.13259, eq. 14) the same square
    # teaches both, in DRO (Richemond et al., 2024, arXiv 2405.19107) the policy's is over 2 beta, and v's has a half.
    "trajectory_balance": Algorithm(_WHOLE, _LEARNED, value_coefficient=1.0, **_TEXTS_AND_V),
    "dro": Algorithm(_WHOLE, partial(_LEARNED, per_nat=True), value_coefficient=0.5, **_TEXTS_AND_V),
    # Learns to predict and nothing else, for policies that are a function of q.
    "critic": Algorithm(None, policy_loss=None, q_coefficient=1.0),
    "soft_critic": Algorithm(None, policy_loss=None, q_coefficient=1.0, soft=True),
}
