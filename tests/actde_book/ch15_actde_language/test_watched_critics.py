"""Critics watched as they learn; the other functions are tested with :mod:`actde_nb.exact.critics`."""

from dataclasses import replace

import numpy as np
from actde_book.ch15_actde_language.watched_critics import watch

from actde_nb import paths
from actde_nb.exact import policy_on_tree
from actde_nb.exact.critics import critics_of, errors
from actde_nb.experiments import runs


def test_watching_trains_and_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "PRETRAINED", tmp_path)
    config = replace(runs.LanguageWorld.usual, algorithm="actde", trials=2, updates=8, batch=8)
    run = runs.Run(config, runs.LanguageWorld(), runs.PretrainedSettings("small", pretraining=2, masked=True))
    work = runs.trainer(run)
    seen = watch(work, 8, 4)
    assert work.update == 8
    assert seen["update"].tolist() == [[0, 4, 8]] * 2
    # With critics that say zero, only the end of a sentence is news.
    np.testing.assert_allclose(seen["return"][:, 0], 1)
    np.testing.assert_allclose(seen["published_095"][:, 0], seen["state"][:, 0])
    # Policy and critics are those of the parameters at the look.
    tree, rewards = work.world.tree, work.world.worth(work.world.tree.sentences)
    policy = policy_on_tree.of_policy(tree, work.world.grammar, work.policy, work.parameters, masked=True)
    critics = critics_of(tree, work.policy.over_tree(work.parameters, tree))
    np.testing.assert_array_equal(seen["reward"][:, -1], policy.values(rewards)[:, 0])
    np.testing.assert_array_equal(seen["q_error"][:, -1], errors(policy, rewards, critics)[0])
