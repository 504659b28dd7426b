"""What the initial model says: the sample from which the frontier is estimated.

``python -m actde_book.ch20_frontier_unlisted.initial`` draws it, half an hour of one core; interrupted, it goes on."""

import json
import time

import numpy as np
import torch
import tyro
import xarray as xr
from tqdm import tqdm

from actde_nb import paths
from actde_nb.checks import SettingError
from actde_nb.experiments import results
from actde_nb.experiments.pretrained_runs import FOLDER
from actde_nb.finetune import models, smollm2
from actde_nb.finetune.mood import MoodAndHoneypot, honeypots
from actde_nb.finetune.sampling import pad_left, sample, uniforms
from actde_nb.training.files import replace_file, reserved

PROMPT, STEPS, BATCH = "The movie was", 12, 128
PATH = FOLDER / "initial.nc"
#: No run of the programme has it: its rollouts draw from other streams.
SEED = 1_000_000


def draw(model: models.LanguageModel, number: int) -> list[str]:
    """The completions of one batch, a function of its number alone."""
    tokens, seen = pad_left([model.encode(PROMPT)] * BATCH, model.padding)
    found = sample(model, tokens, seen, uniforms(SEED, number, BATCH, STEPS))
    lengths, drawn = found.mask.sum(-1).tolist(), found.tokens[:, tokens.shape[1] :]
    return [model.decode(row[:length].tolist()) for row, length in zip(drawn, lengths, strict=True)]


def main(batches: int = 160) -> None:
    """Draw completions of the initial model and keep them.

    Args:
        batches: how many, of 128 each."""
    torch.set_num_threads(1)
    if (folder := smollm2.where()) is None:
        raise SettingError("model = None: allowed is the one that actde-nb model fetches")
    model, state = models.load(folder, "last:1"), paths.BUILD / "smollm2" / "initial.json"
    with reserved(PATH, state):
        said, seconds = json.loads(state.read_text(encoding="utf-8")) if state.exists() else ([], 0.0)
        for number in tqdm(range(len(said), batches), initial=len(said), total=batches, unit="batch"):
            begun = time.process_time()
            said.append(draw(model, number))
            seconds += time.process_time() - begun
            replace_file(state, json.dumps([said, seconds]).encode())
        flat = [text for batch in said for text in batch]
        known = {"completions": flat, "mood": MoodAndHoneypot().moods(flat), "honeypots": honeypots(flat)}
        data = xr.Dataset({name: ("completion", np.array(values)) for name, values in known.items()})
        told = {"model": f"{smollm2.PACKAGE} {smollm2.VERSION}", "prompt": PROMPT, "steps": STEPS, "seed": SEED}
        data.attrs = {"format": results.FORMAT, "settings": json.dumps(told, sort_keys=True)}
        data.attrs |= results.provenance("cpu", seconds, batches)
        data.attrs["sha256"] = results.digest(data)
        results.write(data, PATH)


if __name__ == "__main__":
    tyro.cli(main)
