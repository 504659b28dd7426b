"""``finetune(model, prompts, reward, settings)``: the whole run in one call, gone on with where it stopped."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm

from actde_nb.finetune import checkpoint, models, ranks, texts
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
        report: Called after each rollout, by each process.
        quiet: Show no bar.

    Where torchrun starts several processes, each calls this with the same arguments, asks the reward about its own rows
    of a rollout, and has the same records; the first shows the bar and writes. What one fails at stops all.

    Raises SettingError, CheckpointError, Diverged: one line each that says what to mend."""
    settings = settings or Settings()
    device, path = ranks.join(settings.device), None if resume is None else Path(resume) / STATE
    first = ranks.rank() == 0
    with ranks.together(), models.no_bars(quiet):
        loaded = models.load(model, settings.learns, tokenizer, settings.dtype, device, settings.seed)
        prompts = texts.read(source, loaded, settings.steps)
    run = FineTuning(loaded, prompts, reward, settings)
    with ExitStack() as held, tqdm(total=settings.updates, unit="update", disable=quiet or not first) as bar:
        with ranks.together():
            if path and first:
                held.enter_context(reserved(path))
        if path and checkpoint.there(path):
            checkpoint.load(run, path)
        while run.update < settings.updates:
            run.step()
            bar.update(run.update - bar.n)
            bar.set_postfix({name: run.records[-1][name].item() for name in SHOWN}, refresh=False)
            with ranks.together():
                report(run)
            if path and run.due:
                checkpoint.save(run, path)
    return run
