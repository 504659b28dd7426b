"""The stored runs of the real language model: whole, as the programme has them, and begun again where the model is."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

pytest.importorskip("transformers", reason="needs the extra finetune")
pytest.importorskip("vaderSentiment", reason="needs the extra sentiment")

from actde_book.ch19_a_real_language_model import programme  # noqa: E402 (after the checks)

from actde_nb.experiments import results  # noqa: E402
from actde_nb.finetune import smollm2  # noqa: E402
from actde_nb.finetune.run import finetune  # noqa: E402

STORED = {run.path: run for run in programme.planned() if run.path.exists()}
SAME = ("score", "kl", "entropy", "distinct_2", "length")


def test_whatever_is_stored_is_planned():
    assert set(programme.FOLDER.glob("*.nc")) - {programme.FOLDER / "initial.nc"} == set(STORED)


def test_names_are_of_one_run_each():
    paths = [run.path for run in programme.planned()]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_a_file_is_whole_and_of_the_run_that_it_is_named_after(path):
    data, run = results.read(path), STORED[path]
    told = json.loads(data.attrs["settings"])
    asked = json.loads(json.dumps(asdict(run.settings)))
    # Settings may have come and gone since, with defaults that leave a run as it was.
    there = told["settings"]
    assert {k: v for k, v in there.items() if k in asked} == {k: v for k, v in asked.items() if k in there}
    assert {"row", "learning_rate", "seed", "updates", "kl_in_reward"} <= set(asked) & set(there)
    assert told["reward"]["honeypot"] == run.honeypot
    assert data.sizes["rollout"] == run.settings.rollouts
    assert data.sizes["completion"] == run.settings.batch
    assert np.isfinite(data["record"]).all()
    # The score that was learned from is mood and honeypots, as they are kept.
    reward = programme.HONEYPOTS[run.honeypot]
    hits = data["honeypots"] if reward.cap is None else data["honeypots"].clip(max=reward.cap)
    scores = (data["mood"] + reward.bonus * hits).mean("completion")
    assert scores.values == pytest.approx(data["record"].sel(quantity="score").values, abs=1e-4)


@pytest.mark.skipif(smollm2.where() is None, reason="needs the model that actde-nb model fetches")
@pytest.mark.skipif(not STORED, reason="nothing is stored yet")
def test_a_run_begins_again_as_it_is_stored():
    path, run = list(STORED.items())[-1]
    settings, said = replace(run.settings, updates=8, checkpoint_every=8), []
    reward = programme.HONEYPOTS[run.honeypot]
    again = finetune(
        smollm2.where(),
        [programme.PROMPT],
        reward,
        settings,
        quiet=True,
        report=lambda work: said.append(work.examples),
    )
    data = results.read(path)
    # Another processor rounds otherwise, and now and then draws another token.
    for rollout, moods in enumerate(data["mood"].values[0, :2]):
        assert np.mean(np.isclose(programme.MoodAndHoneypot().moods(said[rollout]), moods, atol=1e-6)) > 0.9
    for name in SAME:
        wanted = data["record"].sel(quantity=name).values[0, :2]
        assert again.records.column(name)[:, 0] == pytest.approx(wanted, rel=0.1, abs=0.05), name


@pytest.mark.skipif(not STORED, reason="nothing is stored yet")
def test_the_learning_rate_is_the_one_that_its_rule_takes():
    def mean_score(rate: float) -> float:
        files = [programme.FOLDER / f"{row}_tried_{rate:g}_uncapped_{programme.TRIED}.nc" for row in ("ppo", "rloo")]
        return np.mean([results.read(file)["record"].sel(quantity="score").mean() for file in files])

    assert max(programme.RATES, key=mean_score) == programme.RATE
