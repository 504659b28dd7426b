"""Experiments by name and settings: from a description to a results file, and from a file back to its run."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from actde_nb import checks
from actde_nb.checks import CheckpointError, SettingError
from actde_nb.experiments import results
from actde_nb.experiments.language_runs import LanguageRun, trainer_of
from actde_nb.tables.games import PAYOFFS
from actde_nb.training.algorithms import ALGORITHMS
from actde_nb.training.config import Config

if TYPE_CHECKING:
    import xarray as xr

    from actde_nb.training.trainer import Trainer

#: Curves that a run on another machine must repeat, those of them that it has.
REPEATED = ("outcome_share", "cooperation", "sentence", "entropy", "reward")


@dataclass(frozen=True)
class PrisonerRun(Config):
    """The small GPT in the prisoner's dilemma, with every setting of loop, game and network.

    Args:
        payoffs: the game, by name.
        layers: blocks of the network.
        heads: attention heads in a block.
        width: numbers per token in the residual stream.
        block_size: longest sequence the network can read.
        dropout: while sampling and while learning; the published code has 0.1, its text does not say.
        detach_heads: keep the losses of v and q from shaping the rest of the network.
        temperature: 0 for a policy head; a number above plays the softmax of q over it, for algorithms
            that train no policy.
    """

    payoffs: str = "main"  # post
    layers: int = 3  # published `gpt-pico`
    heads: int = 3
    width: int = 12
    block_size: int = 128  # notebook
    dropout: float = 0.0  # published 0.1 (`embd_pdrop`, `resid_pdrop`, `attn_pdrop`), left on while sampling
    detach_heads: bool = False  # notebook
    temperature: float = 0.0

    def _check(self):
        super()._check()
        checks.one_of("payoffs", self.payoffs, tuple(PAYOFFS))
        for name in ("layers", "heads", "width", "block_size"):
            checks.whole(name, getattr(self, name))
        if self.width % self.heads:
            raise SettingError(f"width = {self.width}: allowed are multiples of heads = {self.heads}")
        if not self.steps < self.block_size:
            raise SettingError(f"steps = {self.steps}: allowed are numbers below block_size = {self.block_size}")
        if not 0 <= self.dropout < 1:
            raise SettingError(f"dropout = {self.dropout}: allowed are numbers in [0, 1)")
        checks.at_least_zero("temperature", self.temperature)
        if ALGORITHMS[self.algorithm].trains_policy == (self.temperature > 0):
            raise SettingError(
                f"temperature = {self.temperature} with algorithm = {self.algorithm!r}: allowed is zero with "
                "algorithms that train a policy head, and a number above zero with those that do not"
            )


Run = PrisonerRun | LanguageRun


def run_of(settings: Mapping[str, Any]) -> Run:
    """The run with these settings, of the world that has them; on the processor."""
    kind = LanguageRun if "prompt" in settings else PrisonerRun
    return kind(**{**settings, "device": "cpu"})


def trainer(run: Run, trials: Sequence[int] | None = None) -> "Trainer":
    """The run, at its start."""
    if isinstance(run, LanguageRun):
        return trainer_of(run, trials)
    from actde_nb.networks.gpt import GPTConfig
    from actde_nb.networks.policies import Boltzmann, Network
    from actde_nb.training.trainer import Trainer
    from actde_nb.worlds.prisoner import PrisonersDilemma

    network = GPTConfig(
        run.layers, run.heads, run.width, run.block_size, dropout=run.dropout, detach_heads=run.detach_heads
    )
    policy = Boltzmann(network, run.temperature) if run.temperature else Network(network)
    # The loop's own settings, without the game's and the network's.
    config = Config(**{field.name: getattr(run, field.name) for field in dataclasses.fields(Config)})
    return Trainer(PrisonersDilemma(run.payoffs), policy, config, trials)


def train(run: Run, path: Path, *, progress: bool = True) -> "xr.Dataset":
    """Do ``run``, or what is left of it, and keep the results in ``path``.

    Beside it, in a file ending in ``.checkpoint.safetensors``, is the state to go on from: after a kill, or for
    more updates.

    Args:
        run: what to do.
        path: a file that does not exist, or holds this run.
        progress: show a bar with rate, time left, and the present share of alternating games or mean reward.

    Raises:
        ResultsError: ``path`` holds something else.
        CheckpointError: the state beside it is another run's, or damaged.
        Diverged: a number is not finite.
    """
    from tqdm import tqdm

    from actde_nb.training.checkpoint import load, save

    settings = dataclasses.asdict(run)
    there = results.claim(path, settings, usual=dataclasses.asdict(type(run)()))
    if there is not None and results.settings_of(there)["updates"] >= run.updates:
        return there
    checkpoint = path.with_suffix(".checkpoint.safetensors")
    work = trainer(run)
    if checkpoint.exists():
        load(work, checkpoint)
        if work.update > run.updates:
            raise CheckpointError(
                f"{checkpoint} has done {work.update} updates with updates = {run.updates}: allowed are as many or more"
            )
    each = len(work.trials)
    with tqdm(
        total=run.updates * each, initial=work.update * each, unit=" trial-updates",
        desc=path.stem, disable=not progress, file=sys.stdout, mininterval=0.5, dynamic_ncols=True,
    ) as bar:  # fmt: skip

        def report(work: "Trainer") -> None:
            seen = work.records[-1]
            if "outcome_share" in seen:
                now = {"alternating": f"{seen['outcome_share'][:, 1:3].sum(-1).mean():.3f}"}
            else:
                now = {"reward": f"{seen['sentence'][:, 0].mean():.3f}"}
            bar.set_postfix(now, refresh=False)
            bar.update(run.updates_per_rollout * each)

        work.run(save=lambda work: save(work, checkpoint), report=report)
    data = _dataset(work, run)
    results.write(data, path)
    return data


def _dataset(work: "Trainer", run: Run) -> "xr.Dataset":
    settings = dataclasses.asdict(run)
    if not isinstance(run, LanguageRun):
        return results.dataset(work, settings)
    # A tenth of the usual length: a mean over more would mix in how it came about.
    return results.dataset(work, settings, final_updates=40, more=work.evaluate.last_words(work))


def recompute(data: "xr.Dataset", updates: int, trials: Sequence[int] = (0, 1)) -> "xr.Dataset":
    """Do the first stretch of a stored run again, for some of its trials.

    Args:
        data: the stored run.
        updates: at least so many; whole points of its curves.
        trials: which; those that the run has.

    Returns:
        The stretch, whose points are windows of the same length.
    """
    run = run_of(results.settings_of(data))
    if run.evaluate_every:
        run = dataclasses.replace(run, evaluate_every=0)
    trials = [trial for trial in trials if trial in data["trial"]]
    work, window = trainer(run, trials), int(data.attrs["window"])
    rollouts = min(-(-updates // (run.updates_per_rollout * window)) * window, run.rollouts)
    for _ in range(rollouts):
        work.step()
    return results.dataset(work, dataclasses.asdict(run), points=-(-rollouts // window))


def differences(data: "xr.Dataset", again: "xr.Dataset") -> list[str]:
    """Where the recomputed stretch ``again`` departs from ``data``, in words; empty if nowhere.

    Another processor rounds otherwise, and now and then a move that was a near tie falls the other way. That is
    one in thousands of games, and this allows for a few; another seed or another algorithm does not pass. Of sentences
    there are 64 in a rollout, of which one is more: there it is the mean difference that counts.
    """
    found = []
    for name in set(REPEATED) & set(data):
        stored = data[name].sel(trial=again["trial"]).isel(update=slice(again.sizes["update"])).values
        apart = np.abs(stored - again[name].values)
        if "sentence" in data:
            apart, allowed, how = np.nanmean(apart, axis=tuple(range(1, apart.ndim))), 2e-2, "on average"
        else:
            allowed, how = 2e-3, "by up to"
        if not (np.isnan(apart) | (apart <= allowed)).all():
            found.append(f"{name} differs {how} {np.nanmax(apart):.2g}: allowed is {allowed}")
    return sorted(found)
