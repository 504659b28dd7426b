"""Runs: a world, a network and how to train it; from a description to a results file, and from a file back to its run.

The parts of a run know how to build what they describe, and all that depends on the kind of world is in its settings.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import xarray as xr
from tqdm import tqdm

from actde_nb import checks, paths
from actde_nb.checks import CheckpointError, ResultsError, SettingError
from actde_nb.experiments import results
from actde_nb.experiments.evaluation import Evaluation
from actde_nb.networks.gpt import GPTConfig
from actde_nb.networks.policies import Boltzmann, Network, Policy, SeparateCritic, TiltedReference
from actde_nb.tables.games import PAYOFFS
from actde_nb.training import checkpoint
from actde_nb.training.algorithms import ALGORITHMS
from actde_nb.training.config import RESUMABLE, Config
from actde_nb.training.files import read_tensors, reserved, write_tensors
from actde_nb.training.pretrain import WIDTHS, PretrainedGPT, Pretraining, network
from actde_nb.training.trainer import Trainer, check_device, generator
from actde_nb.worlds import World
from actde_nb.worlds.language import Language
from actde_nb.worlds.prisoner import PrisonersDilemma
from actde_nb.worlds.rewards import FORMULAS, Scorer, learn_rewards
from actde_nb.worlds.wedding import GRAMMARS

NETWORKS = "actde-nb weights 2"  # format of a file of networks
PARTS = ("config", "world", "network")
CRITICS = ("shared", "detached", "separate")


@dataclass(frozen=True)
class GPTSettings:
    """A small GPT with random initial weights.

    Args:
        layers: Number of blocks of the network.
        heads: Attention heads in each block; they must divide the width.
        width: Numbers per token in the residual stream.
        block_size: Longest sequence that the network can read.
        dropout: Probability of dropping an activation, both while sampling and while learning.
        detach_heads: Keep the losses of v and q from shaping the rest of the network.
        temperature: Play the softmax of q over this, with an algorithm that trains no policy; 0 for a policy head."""

    layers: int = 3  # published `gpt-pico`
    heads: int = 3
    width: int = 12
    block_size: int = 128  # notebook
    dropout: float = 0.0  # published 0.1 (`embd_pdrop`, `resid_pdrop`, `attn_pdrop`), left on while sampling
    detach_heads: bool = False  # notebook
    temperature: float = 0.0

    def __post_init__(self):
        self._size(vocabulary=1)
        checks.at_least_zero("temperature", self.temperature)

    def check(self, config: Config) -> None:
        """Raise SettingError for a config that this network cannot be trained with."""
        if not config.steps < self.block_size:
            raise SettingError(f"steps = {config.steps}: allowed are numbers below block_size = {self.block_size}")

    def policy(self, world: World) -> Policy:
        """What plays, before training."""
        size = self._size(world.vocabulary)
        return Boltzmann(size, self.temperature) if self.temperature else Network(size)

    def _size(self, vocabulary: int) -> GPTConfig:
        sizes = (self.layers, self.heads, self.width, self.block_size, vocabulary)
        return GPTConfig(*sizes, dropout=self.dropout, detach_heads=self.detach_heads)


@dataclass(frozen=True)
class PretrainedSettings:
    """A small GPT that was taught the language before.

    Args:
        size: Size of the network, which has about 27, 107 or 400 thousand parameters.
        pretraining: Steps of pretraining on the grammar.
        critic: Trunk of v and q: shared with the policy, detached so that they do not shape it, or separate.
        masked: Rule out words that the grammar does not allow.
        temperature: Play the initial policy times exp(q / temperature), with no policy trained; 0 for a policy head."""

    size: Literal[tuple(WIDTHS)] | str = "medium"
    pretraining: int = 800
    critic: Literal[CRITICS] | str = "shared"  # APA: separate
    masked: bool = False
    temperature: float = 0.0

    def __post_init__(self):
        checks.one_of("size", self.size, tuple(WIDTHS))
        checks.one_of("critic", self.critic, CRITICS)
        checks.whole("pretraining", self.pretraining)
        checks.at_least_zero("temperature", self.temperature)
        if self.temperature and self.critic != "shared":
            raise SettingError(f"critic = {self.critic!r} with temperature = {self.temperature}: allowed is 'shared'")

    def check(self, config: Config) -> None:
        """Raise SettingError for a config that this network cannot be trained with."""
        if ALGORITHMS[config.algorithm].greedy_penalty and self.critic == "separate":
            named = f"critic = 'separate' with algorithm = {config.algorithm!r}"
            raise SettingError(f"{named}: allowed are shared and detached")

    def policy(self, world: Language) -> Policy:
        """What speaks, before tuning; it is pretrained now if it has not been."""
        fluent = PretrainedGPT(
            config=replace(network(world.grammar, self.size), detach_heads=self.critic == "detached"),
            legal=world.legal if self.masked else None,
            grammar=world.grammar,
            settings=Pretraining(steps=self.pretraining),
            folder=paths.PRETRAINED,
        )
        if self.temperature:
            return TiltedReference(fluent, self.temperature)
        return SeparateCritic(fluent) if self.critic == "separate" else fluent


@dataclass(frozen=True)
class PrisonerWorld:
    """The prisoner's dilemma against one's own previous move.

    Args:
        payoffs: Payoffs of the game, by the name that the book gives them."""

    payoffs: Literal[tuple(PAYOFFS)] | str = "main"  # post

    kind: ClassVar[str] = "prisoner"
    network: ClassVar[type] = GPTSettings
    usual: ClassVar[Config] = Config()
    #: The last updates, of which a results file has means.
    final_updates: ClassVar[int] = 1_000
    #: Curves that a run on another machine must repeat, and how far apart any of their numbers may be: another
    #: processor rounds otherwise, and now and then a near tie falls the other way, one in thousands of games.
    repeated: ClassVar[tuple[str, ...]] = ("outcome_share", "cooperation", "entropy", "reward")
    tolerance: ClassVar[float] = 2e-3
    averaged: ClassVar[bool] = False

    def __post_init__(self):
        checks.one_of("payoffs", self.payoffs, tuple(PAYOFFS))

    def make(self, seed: int) -> PrisonersDilemma:
        """The game, in which nothing depends on the seed."""
        return PrisonersDilemma(self.payoffs)

    def evaluation(self, run: "Run", world: World, policy: Policy) -> None:
        """None: the statistics of the rollouts say it all."""

    def progress(self, record: Mapping[str, np.ndarray]) -> dict[str, str]:
        """What to show beside the bar of a run whose last record this is."""
        return {"alternating": f"{record['outcome_share'][:, 1:3].sum(-1).mean():.3f}"}

    def summary(self, data: xr.Dataset) -> str:
        """How a run ended, in a few words."""
        share = data["final_outcome_share"].sel(outcome=["cd", "dc"]).sum("outcome").mean()
        return f"alternating {float(share):.3f} in the last {data.attrs['final_updates']:,}"


@dataclass(frozen=True)
class LanguageWorld:
    """The small language, whose sentences earn a reward at their end.

    Args:
        reward: Reward that is optimised; "learned" is a network that learned from preferences.
        prompt: Words that every sentence begins with.
        grammar: Grammar of the language: the book's, or one with one thing changed."""

    reward: Literal[(*FORMULAS, "learned")] | str = "gold"
    prompt: str = "We had a"
    grammar: Literal[tuple(GRAMMARS)] | str = "wedding"

    kind: ClassVar[str] = "language"
    network: ClassVar[type] = PretrainedSettings
    usual: ClassVar[Config] = Config(
        algorithm="ppo", trials=5, updates=400, steps=12, minibatches=2, whiten=True, warmup=40, learning_rate=3e-4,
        head_rate=3.0, weight_decay=0.0, checkpoint_every=40, evaluate_every=40,
        discount=1.0,  # rewards come at the end of a sentence
        value_coefficient=1.0,  # APA's; clipped, so that there is a half inside
    )  # fmt: skip
    #: A tenth of a run: a mean over more would mix in how it came about.
    final_updates: ClassVar[int] = 40
    #: As in :class:`PrisonerWorld`; but a rollout has 64 sentences, of which one is more than a thousandth.
    repeated: ClassVar[tuple[str, ...]] = ("sentence", "entropy", "reward")
    tolerance: ClassVar[float] = 2e-2
    averaged: ClassVar[bool] = True

    def __post_init__(self):
        checks.one_of("reward", self.reward, (*FORMULAS, "learned"))
        checks.one_of("grammar", self.grammar, tuple(GRAMMARS))

    def make(self, seed: int) -> Language:
        """The language with its reward, which is learned from preferences with this seed if it is to be learned."""
        grammar = GRAMMARS[self.grammar]()
        if self.reward != "learned":
            return Language(grammar, self.prompt, self.reward)
        honest = Language(grammar, self.prompt)
        [learned] = learn_rewards(Scorer.of(honest.grammar), honest.tree, [torch.Generator().manual_seed(seed)])
        return Language(honest.grammar, self.prompt, learned)

    def evaluation(self, run: "Run", world: Language, policy: Policy) -> Evaluation:
        """What is known of the policies: all trials start from the same one."""
        device = check_device(run.config.device)
        start = policy.init([generator(run.config.seed, 0, "init")])
        start = {name: value.to(device) for name, value in start.items()}
        has_q, network = ALGORITHMS[run.config.algorithm].learns_q, run.network
        return Evaluation(world, policy, start, run.price, network.temperature, network.masked, has_q)

    def progress(self, record: Mapping[str, np.ndarray]) -> dict[str, str]:
        """What to show beside the bar of a run whose last record this is."""
        return {"reward": f"{record['sentence'][:, 0].mean():.3f}"}

    def summary(self, data: xr.Dataset) -> str:
        """How a run ended, in a few words."""
        means = data["final_sentence"].mean("trial")
        return ", ".join(f"{name} {float(means.sel(measure=name)):.3f}" for name in ("reward", "gold", "grammatical"))


#: By what is written under ``kind`` in a results file.
WORLDS = {world.kind: world for world in (PrisonerWorld, LanguageWorld)}


@dataclass(frozen=True)
class Run:
    """All that decides a run's numbers: how to train, what earns rewards, what is trained."""

    config: Config
    world: PrisonerWorld | LanguageWorld
    network: GPTSettings | PretrainedSettings

    def __post_init__(self):
        if type(self.network) is not self.world.network:
            named = f"network = {type(self.network).__name__} with the world {self.world.kind!r}"
            raise SettingError(f"{named}: allowed is {self.world.network.__name__}")
        row, temperature = ALGORITHMS[self.config.algorithm], self.network.temperature
        if row.trains_policy == (temperature > 0):
            allowed = "zero with algorithms that train a policy head, and a number above zero with those that do not"
            named = f"temperature = {temperature} with algorithm = {self.config.algorithm!r}"
            raise SettingError(f"{named}: allowed is {allowed}")
        self.network.check(self.config)

    @property
    def price(self) -> float | None:
        """What a nat costs by design: in the reward, or as the temperature of AWR and APA; None where it is free."""
        if self.config.kl_in_reward:
            return self.config.kl_in_reward
        return self.config.beta if ALGORITHMS[self.config.algorithm].fits_advantages else None

    def settings(self) -> dict[str, dict[str, Any]]:
        """Every setting, by part, for a results file; :func:`run_of` reads it back."""
        parts = {part: asdict(getattr(self, part)) for part in PARTS}
        return {**parts, "world": {"kind": self.world.kind, **parts["world"]}}


def run_of(settings: Mapping[str, Any]) -> Run:
    """The run with these settings; on the processor, wherever it was made."""
    try:
        world = dict(settings["world"])
        kind = WORLDS[world.pop("kind")]
        config = Config(**{**settings["config"], "device": "cpu"})
        return Run(config, kind(**world), kind.network(**settings["network"]))
    except (KeyError, TypeError, SettingError) as error:
        raise ResultsError(f"settings that this version does not know: {error}") from None


def evaluation(run: Run, world: Language | None = None) -> Evaluation:
    """What is known of the policy that a language run starts from: ``initial`` and ``known`` of the result; with
    another language or reward than the run names, if ``world`` is given."""
    world = run.world.make(run.config.seed) if world is None else world
    return run.world.evaluation(run, world, run.network.policy(world))


def trainer(run: Run, trials: Sequence[int] | None = None, world: World | None = None) -> Trainer:
    """The run at its start, of some of its trials (all by default), in another world than it names if one is given."""
    world = run.world.make(run.config.seed) if world is None else world
    policy = run.network.policy(world)
    return Trainer(world, policy, run.config, trials, run.world.evaluation(run, world, policy))


def train(run: Run, path: Path, *, progress: bool = True) -> xr.Dataset:
    """Do ``run``, or what is left of it, and keep the results in ``path``, which must not exist or hold this run.

    Beside it, in a file ending in ``.checkpoint.safetensors``, is the state to go on from: after an interruption, or
    for more updates. ``progress`` shows a bar with rate, time left, and how the run does."""
    there = claim(path, run)
    if there is not None and results.settings_of(there)["config"]["updates"] >= run.config.updates:
        if progress:
            print(f"{path} holds this run already")
        return there
    state = state_beside(path)
    with reserved(path, state):
        work = trainer(run)
        if state.exists():
            checkpoint.load(work, state)
            if work.update > run.config.updates:
                done = f"{state} has done {work.update} updates with updates = {run.config.updates}"
                raise CheckpointError(f"{done}: allowed are as many or more")
        each = len(work.trials)
        bar = tqdm(
            total=run.config.updates * each, initial=work.update * each, unit=" trial-updates",
            desc=path.stem, disable=not progress, file=sys.stdout, mininterval=0.5, dynamic_ncols=True,
        )  # fmt: skip

        def report(work: Trainer) -> None:
            bar.set_postfix(run.world.progress(work.records[-1]), refresh=False)
            bar.update(run.config.updates_per_rollout * each)

        try:
            with bar:
                work.run(save=lambda work: checkpoint.save(work, state), report=report)
        except KeyboardInterrupt:
            done = f"interrupted at update {work.update:,}"
            print(f"{path}: {done}; run the same command again to go on", file=sys.stderr)
            raise
        results.write(data := dataset(work, run), path)
    return data


def state_beside(path: Path) -> Path:
    """Where the state is kept that a run whose results go to ``path`` goes on from."""
    return path.with_name(f"{path.name}.checkpoint.safetensors")


def dataset(work: Trainer, run: Run, points: int = results.POINTS) -> xr.Dataset:
    """What a trainer of ``run`` has found by now."""
    more = work.evaluate.last_words(work) if work.evaluate else None
    return results.dataset(work, run.settings(), points=points, final_updates=run.world.final_updates, more=more)


def claim(path: Path, run: Run) -> xr.Dataset | None:
    """What ``path`` holds of ``run`` already, or None; settings named in ``config.RESUMABLE`` may differ."""
    if not path.exists():
        return None
    try:
        data = results.read(path)
        theirs, ours = run_of(results.settings_of(data)).settings(), run.settings()
    except ResultsError as error:
        text = str(error) if str(path) in str(error) else f"{path} has {error}"
        raise ResultsError(f"{text}; it is left as it is. Move it away, or choose another file") from None
    asked = [(part, name) for part in PARTS for name in sorted({*theirs[part], *ours[part]}) if name not in RESUMABLE]
    pairs = [(name, theirs[part].get(name), ours[part].get(name)) for part, name in asked]
    differing = [f"{name} = {there!r} there, {here!r} here" for name, there, here in pairs if there != here]
    if differing:
        raise ResultsError(f"{path} holds another run ({'; '.join(differing)}). Move it away, or choose another file")
    return data


def keep_networks(run: Run, state: Path, path: Path) -> None:
    """Keep, for pages that want to ask them something, the parameters that the checkpoint ``state`` of ``run`` has."""
    work = trainer(run)
    checkpoint.load(work, state)
    header = {"format": NETWORKS, "settings": json.dumps(run.settings(), sort_keys=True)}
    write_tensors(path, work.parameters, {**header, "trials": json.dumps(work.trials), "update": str(work.update)})


def read_networks(path: Path) -> Trainer:
    """The run with its networks as they were kept; its curves are not there, nor the optimiser's memory."""
    tensors, header = read_tensors(path, NETWORKS)
    work = trainer(run_of(json.loads(header["settings"])), json.loads(header["trials"]))
    if {n: v.shape for n, v in tensors.items()} != {n: v.shape for n, v in work.parameters.items()}:
        raise CheckpointError(f"{path} has parameters of other names or shapes than its settings ask for")
    for name, value in tensors.items():
        work.parameters[name].data.copy_(value)
    work.update = int(header["update"])
    return work


def recompute(data: xr.Dataset, updates: int, trials: Sequence[int] = (0, 1)) -> xr.Dataset:
    """Do the first stretch of a stored run again, for those of ``trials`` that it has: ``updates`` or more of them, or
    all there are, in whole points of the curves."""
    checks.whole("updates", updates)
    run = run_of(results.settings_of(data))
    run = replace(run, config=replace(run.config, evaluate_every=0))
    present = [trial for trial in trials if trial in data["trial"]]
    if not present:
        raise SettingError(f"trials = {list(trials)}: allowed are {', '.join(map(str, data['trial'].values))}")
    work, window = trainer(run, present), int(data.attrs["window"])
    rollouts = min(-(-updates // (run.config.updates_per_rollout * window)) * window, run.config.rollouts)
    for _ in range(rollouts):
        work.step()
    return results.dataset(work, run.settings(), points=-(-rollouts // window))


def differences(data: xr.Dataset, again: xr.Dataset) -> list[str]:
    """Where the recomputed stretch ``again`` departs from ``data`` by more than the world allows, in words; empty if
    nowhere. Another seed or another algorithm does not pass."""
    world, found = run_of(results.settings_of(data)).world, []
    how = "on average" if world.averaged else "by up to"
    for name in world.repeated:
        stored = data[name].sel(trial=again["trial"]).isel(update=slice(again.sizes["update"])).values
        apart, unknown = np.abs(stored - again[name].values), np.isnan(stored)
        if (unknown != np.isnan(again[name].values)).any():
            found.append(f"{name} is unknown (NaN) in one of the two only")
            continue
        apart = np.ma.masked_where(unknown, apart)
        worst = np.ma.max(apart.mean(axis=tuple(range(1, apart.ndim))) if world.averaged else apart)
        if worst > world.tolerance:
            found.append(f"{name} differs {how} {worst:.2g}: allowed is {world.tolerance}")
    return sorted(found)
