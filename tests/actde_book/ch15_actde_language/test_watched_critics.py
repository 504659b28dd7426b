"""Critics watched as they learn; the other functions are tested with :mod:`actde_nb.exact.critics`."""

from dataclasses import replace

import numpy as np
from actde_book.ch15_actde_language.watched_critics import watch

from actde_nb import paths
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
