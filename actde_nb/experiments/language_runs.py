"""Fine-tuning on the small language: a run's settings, and what they make of world, network and loop."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from actde_nb import checks, paths
from actde_nb.checks import SettingError
from actde_nb.training.algorithms import ALGORITHMS
from actde_nb.training.config import Config

if TYPE_CHECKING:
    from actde_nb.networks.policies import Policy
    from actde_nb.training.trainer import Trainer
    from actde_nb.worlds.language import Language

SIZES = ("small", "medium", "large")
REWARDS = ("gold", "sent", "bow", "hp_cap", "hp_unc", "learned")


@dataclass(frozen=True)
class LanguageRun(Config):
    """A pretrained network that is tuned to a reward of its sentences, with every setting.

    Args:
        reward: what is optimised, by name; ``"learned"`` is the reward model.
        prompt: what all sentences begin with.
        size: of the network: small, medium or large.
        masked: whether words that the grammar does not allow are ruled out.
        critic: where v and q come from: ``"shared"`` trunk, ``"detached"`` (their losses do not shape the trunk), or a
            ``"separate"`` network.
        temperature: 0 for a policy head; a number above plays the initial policy times exp(q / temperature), for
            algorithms that train no policy.
        pretraining: steps of it.
    """

    algorithm: str = "ppo"
    trials: int = 5
    updates: int = 400
    steps: int = 12
    minibatches: int = 2
    discount: float = 1.0  # rewards come at the end of a sentence
    whiten: bool = True
    warmup: int = 40
    learning_rate: float = 3e-4
    head_rate: float = 3.0
    value_coefficient: float | None = 1.0  # APA's; clipped, so that there is a half inside
    weight_decay: float = 0.0
    checkpoint_every: int = 40
    evaluate_every: int = 40
    reward: str = "gold"
    prompt: str = "We had a"
    size: str = "medium"
    masked: bool = False
    critic: str = "shared"  # APA: separate
    temperature: float = 0.0
    pretraining: int = 800

    def _check(self):
        super()._check()
        checks.one_of("reward", self.reward, REWARDS)
        checks.one_of("size", self.size, SIZES)
        checks.one_of("critic", self.critic, ("shared", "detached", "separate"))
        checks.whole("pretraining", self.pretraining)
        checks.at_least_zero("temperature", self.temperature)
        if ALGORITHMS[self.algorithm].trains_policy == (self.temperature > 0):
            raise SettingError(
                f"temperature = {self.temperature} with algorithm = {self.algorithm!r}: allowed is zero with "
                "algorithms that train a policy head, and a number above zero with those that do not"
            )
        if self.temperature and self.critic != "shared":
            raise SettingError(f"critic = {self.critic!r} with temperature = {self.temperature}: allowed is 'shared'")
        if ALGORITHMS[self.algorithm].greedy_penalty and self.critic == "separate":
            raise SettingError(
                f"critic = 'separate' with algorithm = {self.algorithm!r}: allowed are shared and detached"
            )

    @property
    def price(self) -> float | None:
        """What a nat costs by design: in the reward, or as the temperature of AWR and APA; None where it is free."""
        if self.kl_in_reward:
            return self.kl_in_reward
        return self.beta if ALGORITHMS[self.algorithm].fits_advantages else None


def world_of(run: LanguageRun) -> "Language":
    """The language, with the run's reward."""
    from actde_nb.worlds.language import Language
    from actde_nb.worlds.rewards import Scorer, learn_reward

    if run.reward != "learned":
        return Language(prompt=run.prompt, reward=run.reward)
    honest = Language(prompt=run.prompt)
    learned = learn_reward(Scorer.of(honest.grammar), honest.tree, seed=run.seed)
    return Language(honest.grammar, run.prompt, learned)


def policy_of(run: LanguageRun, world: "Language", folder: Path | None = None) -> "Policy":
    """The network before tuning, pretrained now if it has not been."""
    from actde_nb.networks.policies import SeparateCritic, TiltedReference
    from actde_nb.training.pretrain import PretrainedGPT, Pretraining, network

    fluent = PretrainedGPT(
        config=dataclasses.replace(network(world.grammar, run.size), detach_heads=run.critic == "detached"),
        legal=world.legal if run.masked else None,
        grammar=world.grammar,
        settings=Pretraining(steps=run.pretraining),
        folder=folder or paths.PRETRAINED,
    )
    if run.temperature:
        return TiltedReference(fluent, run.temperature)
    return SeparateCritic(fluent) if run.critic == "separate" else fluent


def trainer_of(
    run: LanguageRun,
    trials: Sequence[int] | None = None,
    folder: Path | None = None,
    world: "Language | None" = None,
) -> "Trainer":
    """The run, at its start.

    Args:
        run: its settings.
        trials: numbers of the trials to run; all of them by default.
        folder: where pretrained networks are kept.
        world: another language or reward than the run names.
    """
    from actde_nb.experiments.evaluation import Evaluation
    from actde_nb.training.trainer import Trainer

    world = world or world_of(run)
    config = Config(**{field.name: getattr(run, field.name) for field in dataclasses.fields(Config)})
    work = Trainer(world, policy_of(run, world, folder), config, trials)
    work.evaluate = Evaluation(run, work)
    return work
