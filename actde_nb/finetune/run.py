"""``finetune(model, prompts, reward, settings)``: the whole run in one call, gone on with where it stopped."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tqdm import tqdm

from actde_nb.finetune import checkpoint, models, texts
from actde_nb.finetune.loop import FineTuning
from actde_nb.finetune.settings import Settings
from actde_nb.training.files import reserved

#: Records shown on the bar; nats a sequence, and nats a token.
SHOWN = ("score", "kl", "entropy", "distinct_2", "tokens_per_second")
STATE = "run.safetensors"


def finetune(
    model: Any, source: texts.Source, reward: texts.Reward, settings: Settings | None = None, *, tokenizer: Any = None,
    resume: str | Path | None = None, report: Callable[[FineTuning], None] = lambda _: None, quiet: bool = False,
) -> FineTuning:  # fmt: skip
    """Train a language model by a row of the table of algorithms, and return the run with the model in it.

    Args:
        model: Id, folder or .gguf file of a model, or a PreTrainedModel, which is changed in place.
        source: Prompts: a list, a file, or any iterable; see :data:`actde_nb.finetune.texts.Source`.
        reward: ``reward(prompts, completions, **columns)``, a number for each completion.
        tokenizer: If it is not the model's own: a tokenizer, its id or its folder.
        resume: Folder for the run's state. If it holds one, of the same run, that is gone on with.
        report: Called after each rollout.
        quiet: Show no bar.

    Raises SettingError, CheckpointError, Diverged: one line each that says what to mend."""
    settings = settings or Settings()
    loaded = models.load(model, settings.learns, tokenizer, settings.dtype, settings.device, settings.seed)
    run = FineTuning(loaded, texts.read(source, loaded, settings.steps), reward, settings)
    path = None if resume is None else Path(resume) / STATE
    with reserved(path) if path else nullcontext(), tqdm(total=settings.updates, unit="update", disable=quiet) as bar:
        if path and path.exists():
            checkpoint.load(run, path)
        while run.update < settings.updates:
            run.step()
            bar.update(run.update - bar.n)
            bar.set_postfix({name: run.records[-1][name].item() for name in SHOWN}, refresh=False)
            report(run)
            if path and (run.update % settings.checkpoint_every == 0 or run.update == settings.updates):
                checkpoint.save(run, path)
    return run
