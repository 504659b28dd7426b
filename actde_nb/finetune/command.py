"""``actde-nb finetune``: its options, which are the settings of a run."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from actde_nb.checks import BookError
from actde_nb.finetune.settings import Settings
from actde_nb.training.config import LOOP, TrainingSettings

OF_TRAINING = [field.name for field in fields(TrainingSettings) if field.name != "algorithm"]  # called row here
WHERE = tyro.conf.arg(metavar="FOLDER", help_behavior_hint="(default: runs/finetune_ROW in this folder)")


def command(group: Callable[..., Any]) -> Callable[..., None]:
    """The command; ``group(usual, help, *names)`` makes a group of options of some of the settings ``usual``."""
    usual = Settings()
    loop, row = ([name for name in OF_TRAINING if (name in LOOP) is inside] for inside in (True, False))
    own = [field.name for field in fields(usual) if field.name not in (*OF_TRAINING, "algorithm", "row")]

    def finetune(
        model: str, prompts: Path, reward: str,
        learner: group(usual, "What of the model learns, and its critic.", *own),
        loop: group(usual, "How much is said, and how the optimiser moves the network.", *loop),
        algorithm: group(usual, "What an update makes of what was said.", "row", *row),
        tokenizer: str | None = None, out: Annotated[Path | None, WHERE] = None, merged: bool = False,
        tensorboard: bool = False,
    ) -> None:  # fmt: skip
        """Tune a language model of Hugging Face to a reward of your own, or go on where that was interrupted.

        Args:
            model: id, folder or .gguf file of a causal language model.
            prompts: file of texts, one a line, or .jsonl: texts, messages, or dicts with prompt and other columns.
            reward: MODULE:FUNCTION in this folder or installed; it is called with prompts, completions and columns.
            tokenizer: id or folder, if it is not the model's own.
            out: folder for the model, the records of the run, and the state to go on from.
            merged: write the network with what its adapters learned, instead of the adapters alone.
            tensorboard: write the records for TensorBoard too, if it is installed (pip install tensorboard)."""
        settings = replace(usual, **vars(learner), **vars(loop), **vars(algorithm))
        try:
            from actde_nb.finetune.folder import tune  # heavy, and an extra
        except ModuleNotFoundError as error:
            raise BookError(f'finetune needs {error.name}: pip install "actde-nb[finetune]"') from None
        files = {"tokenizer": tokenizer, "out": out, "merged": merged, "tensorboard": tensorboard}
        tune(model, prompts, reward, settings, **files)

    return finetune
