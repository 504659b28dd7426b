"""The stored runs of the book by name, and others like them."""

from dataclasses import replace
from typing import Any

from actde_nb.experiments import runs
from actde_nb.experiments.programme import programme
from actde_nb.experiments.runs import GPTSettings, Run
from actde_nb.training.algorithms import ALGORITHMS
from actde_nb.training.config import Config

#: Group -> name -> run, where a run of the language goes without the beginning of its file's name, ``language_``.
GROUPS: dict[str, dict[str, Run]] = {
    group: {name.removeprefix("language_"): run for name, run in runs.items()}
    for group, runs in programme().groups.items()
}
PRISONER, MATCHED, PLACES, SIZES, LEARNED = (
    GROUPS[name] for name in ("prisoner", "matched", "places", "sizes", "learned")
)
LANGUAGE = {name: run for group, runs in GROUPS.items() if group != "prisoner" for name, run in runs.items()}


def prisoner(payoffs: str = "main", network: GPTSettings | None = None, **settings: Any) -> Run:
    """A run in the dilemma; ``settings`` are those of the :class:`~actde_nb.training.config.Config`."""
    return Run(Config(**settings), runs.PrisonerWorld(payoffs), network or GPTSettings())


def language(
    algorithm: str, *, reward: str = "gold", size: str = "small", critic: str = "shared", temperature: float = 0.0,
    masked: bool = False, **settings: Any,
) -> Run:  # fmt: skip
    """A run on the language, whose advantages are whitened unless they are to be fitted or q comes in."""
    row = ALGORITHMS[algorithm]
    raw = row.fits_advantages or row.learns_q
    config = replace(runs.LanguageWorld.usual, **{"algorithm": algorithm, "whiten": not raw, **settings})
    network = runs.PretrainedSettings(size, critic=critic, masked=masked, temperature=temperature)
    return Run(config, runs.LanguageWorld(reward), network)
