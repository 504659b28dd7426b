"""Runs on the language: settings, evaluations, resuming, files, the command."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_language import GRAMMAR
from toy_language import WORLD as TOY

from actde_nb import paths
from actde_nb.checks import SettingError
from actde_nb.exact import policy_on_tree
from actde_nb.experiments import results, runs
from actde_nb.experiments.runs import GPTSettings, LanguageWorld, PretrainedSettings, Run
from actde_nb.networks.policies import SeparateCritic, TiltedReference
from actde_nb.training.advantages import leave_one_out
from actde_nb.training.algorithms import ALGORITHMS, Algorithm
from actde_nb.training.checkpoint import load, save
from actde_nb.training.losses import score_function
from actde_nb.worlds.language import Language
from actde_nb.worlds.rewards import FORMULAS

CONFIG = replace(
    LanguageWorld.usual, algorithm="apa", trials=2, updates=16, batch=8, steps=4, warmup=4, checkpoint_every=4,
    evaluate_every=8, beta=0.2, whiten=False,
)  # fmt: skip
MAKE = LanguageWorld.make  # tests replace it
NETWORK = PretrainedSettings("small", pretraining=20, masked=True)
RUN = Run(CONFIG, LanguageWorld(), NETWORK)


def changed(**settings) -> Run:
    return replace(RUN, config=replace(CONFIG, **settings))


@pytest.fixture(autouse=True)
def toy(monkeypatch, tmp_path):
    monkeypatch.setattr(LanguageWorld, "make", lambda self, seed: TOY)
    monkeypatch.setattr(paths, "PRETRAINED", tmp_path / "pretrained")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LanguageWorld(reward="praise"), "reward = 'praise': allowed are"),
        (lambda: PretrainedSettings(size="huge"), "size = 'huge': allowed are"),
        (lambda: PretrainedSettings(critic="none"), "critic = 'none': allowed are"),
        (lambda: PretrainedSettings(pretraining=0), "pretraining = 0"),
        (lambda: PretrainedSettings(critic="detached", temperature=0.1), "critic = 'detached' with temperature = 0.1"),
        (lambda: replace(RUN, network=PretrainedSettings(temperature=0.1)), "temperature = 0.1 with algorithm = 'apa'"),
        (lambda: changed(algorithm="critic"), "temperature = 0.0 with algorithm = 'critic'"),
        (
            lambda: Run(
                replace(LanguageWorld.usual, algorithm="gaa"), LanguageWorld(), PretrainedSettings(critic="separate")
            ),
            "critic = 'separate' with algorithm = 'gaa'",
        ),
        (lambda: Run(CONFIG, LanguageWorld(), GPTSettings()), "network = GPTSettings with the world 'language'"),
        (lambda: changed(evaluate_every=3), "evaluate_every = 3: allowed are multiples"),
        (lambda: changed(beta=0.0), "beta = 0"),
        (lambda: runs.trainer(changed(device="abacus")), "device = 'abacus': allowed are"),
    ],
)
def test_settings_that_are_not_allowed(make, message):
    with pytest.raises(SettingError, match=message):
        make()


def test_every_setting_of_world_and_network_arrives():
    world = MAKE(LanguageWorld("hp_cap", "We had a very"), seed=0)
    assert (world.prompt, world.reward) == ("We had a very", "hp_cap")
    taught = [MAKE(LanguageWorld("learned"), seed).reward.weights["in"] for seed in (0, 1)]
    assert (taught[0] != taught[1]).any()
    fluent = NETWORK.policy(TOY)
    assert (fluent.config.width, fluent.settings.steps, fluent.config.detach_heads) == (32, 20, False)
    assert fluent.legal is not None
    assert PretrainedSettings().policy(TOY).legal is None
    assert PretrainedSettings(critic="detached").policy(TOY).config.detach_heads
    assert isinstance(PretrainedSettings(critic="separate").policy(TOY), SeparateCritic)
    tilted = PretrainedSettings(temperature=0.3).policy(TOY)
    assert isinstance(tilted, TiltedReference)
    assert tilted.temperature == 0.3


def test_what_a_run_is_evaluated_with():
    def known(**parts):
        before = runs.evaluation(replace(RUN, **parts))
        return before.price, before.unit, before.masked, before.has_q

    assert known() == (0.2, 0.2, True, False)
    assert known(network=replace(NETWORK, masked=False)) == (0.2, 0.2, False, False)
    tied = replace(NETWORK, temperature=0.3)
    assert known(config=replace(CONFIG, algorithm="critic"), network=tied) == (None, 0.3, True, True)
    assert known(config=replace(CONFIG, algorithm="ppo")) == (None, None, True, False)


def test_the_price_of_a_nat():
    assert RUN.price == 0.2
    assert changed(algorithm="ppo").price is None
    assert changed(algorithm="ppo", kl_in_reward=0.3).price == 0.3


def test_a_reward_is_one_line_in_the_table(monkeypatch):
    monkeypatch.setitem(FORMULAS, "modest", lambda x: 0.5 * x.grammatical)
    assert LanguageWorld("modest").reward == "modest"


def test_evaluations_are_what_the_metrics_say():
    work = runs.trainer(RUN)
    work.run()
    assert work.evaluations.column("updates_done")[:, 0].tolist() == [0, 8, 16]
    first, last = work.evaluations[0], work.evaluations[2]
    assert first["exact_kl"] == pytest.approx([0, 0], abs=1e-9)
    policy = policy_on_tree.of_policy(TOY.tree, GRAMMAR, work.policy, work.parameters, masked=True)
    worth = TOY.worth(TOY.tree.sentences)
    np.testing.assert_allclose(last["exact_leak"], policy.leak, atol=1e-9)
    inside = policy.leak.numpy() <= policy_on_tree.LEAK
    expected = np.where(inside, (policy.sentences.exp() @ worth).numpy(), np.nan)
    np.testing.assert_allclose(last["exact_reward"], expected, rtol=1e-6)
    assert (last["sampled_kl"] >= 0).all()


def test_a_run_in_a_file(tmp_path):
    path = tmp_path / "run.nc"
    data = runs.train(RUN, path, progress=False)
    again = results.read(path)
    assert again.identical(data)
    assert runs.run_of(results.settings_of(again)) == RUN
    assert again["likeliest_sentence"].dims == ("trial", "rank")
    assert str(again["likeliest_sentence"].values[0, 0]).startswith("so ")
    assert again["evaluated"].values.tolist() == [0, 8, 16]
    assert again["word_log_ratio"].shape == (2, 300)
    assert runs.differences(again, runs.recompute(again, 8)) == []
    other = results.dataset(_other_seed(), RUN.settings())
    assert runs.differences(again, other)


def _other_seed():
    work = runs.trainer(changed(seed=1))
    work.run()
    return work


def test_a_run_goes_on_with_its_evaluations(tmp_path):
    whole = runs.trainer(RUN)
    whole.run()
    half = runs.trainer(changed(updates=8))
    half.run()
    save(half, tmp_path / "half.safetensors")
    resumed = runs.trainer(RUN)
    load(resumed, tmp_path / "half.safetensors")
    resumed.run()
    for name in whole.evaluations.names:
        np.testing.assert_array_equal(resumed.evaluations.column(name), whole.evaluations.column(name))
    one, other = (runs.dataset(work, RUN) for work in (whole, resumed))
    for name in ("seconds", "trial_updates_per_second", "written", "sha256"):
        other.attrs[name] = one.attrs[name]
    for data, file in ((one, "whole.nc"), (other, "resumed.nc")):
        results.write(data, tmp_path / file)
    assert (tmp_path / "whole.nc").read_bytes() == (tmp_path / "resumed.nc").read_bytes()


def test_what_is_known_before_training_is_what_a_trainer_begins_with():
    before, work = runs.evaluation(RUN), runs.trainer(RUN)
    policy = policy_on_tree.of_policy(TOY.tree, GRAMMAR, work.policy, work.parameters, masked=True)
    torch.testing.assert_close(before.initial.sentences.expand_as(policy.sentences), policy.sentences)
    assert before.known.keys() == {"reward", "gold", "honeypot"}
    assert torch.equal(before.known["reward"], TOY.worth(TOY.tree.sentences))


def test_words_drawn_at_the_end_obey_the_definition():
    # With logits tied to a q of zero the policy stays what it was: log-ratios are zero and so is log Z of A = 0.
    work = runs.trainer(RUN)
    drawn = work.evaluate.last_words(work)
    np.testing.assert_allclose(drawn["word_log_ratio"][1], 0, atol=1e-5)  # one network and a stack round apart
    policy = work.evaluate.spoken(work)
    assert drawn["likeliest_probability"][1][0, 0] == pytest.approx(policy.sentences[0].exp().max().item())
    assert np.isfinite(drawn["word_log_z"][1]).all()


def test_a_world_is_known_by_what_it_is(monkeypatch):
    def praise(tokens):
        return torch.zeros(tokens.shape[:-1])

    named = Language(GRAMMAR, "so", praise, TOY.scorer)
    assert repr(named) == repr(Language(GRAMMAR, "so", praise, TOY.scorer))
    assert " at 0x" not in repr(named)
    assert repr(named) != repr(TOY)


def test_a_world_and_a_row_of_ones_own(monkeypatch):
    def short(tokens):
        return -(tokens > 1).sum(-1).double()

    monkeypatch.setitem(ALGORITHMS, "mine", Algorithm(leave_one_out, score_function, value_loss=None))
    mine = changed(algorithm="mine", updates=40, learning_rate=1e-2)
    work = runs.trainer(mine, world=Language(GRAMMAR, "so", short, TOY.scorer))
    work.run()
    # "so a ." is the shortest sentence, of three words.
    assert (work.records.column("sentence")[-1, :, 0] > -3.3).all()
    assert (work.records.column("sentence")[0, :, 0] < -3.6).all()
