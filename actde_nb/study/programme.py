"""The runs behind the book that are too long for a page: what each stored file holds."""

from actde_nb.study.runs import PrisonerRun

#: File name, without its ending -> the run. Trials of the same number share their random draws across runs.
PROGRAMME: dict[str, PrisonerRun] = {
    "prisoner_ppo": PrisonerRun(algorithm="ppo", updates=2_000),
    "prisoner_ppo_whitened": PrisonerRun(algorithm="ppo", trials=5, updates=2_000, whiten=True),
    "prisoner_ppo_detached": PrisonerRun(algorithm="ppo", trials=5, updates=2_000, detach_heads=True),
    "prisoner_ppo_dropout": PrisonerRun(algorithm="ppo", trials=5, updates=2_000, dropout=0.1),
    "prisoner_actde": PrisonerRun(),
    "prisoner_actde_dropout": PrisonerRun(dropout=0.1),  # as in the published code
    "prisoner_actde_whitened": PrisonerRun(trials=5, whiten=True),
    "prisoner_actde_detached": PrisonerRun(trials=5, detach_heads=True),
    "prisoner_actde_expectile": PrisonerRun(algorithm="actde_expectile", trials=5),
    "prisoner_actde_b_1": PrisonerRun(trials=5, payoffs="b=1"),
    "prisoner_actde_b_07": PrisonerRun(trials=5, payoffs="b=.7"),
    "prisoner_actde_extreme": PrisonerRun(trials=5, payoffs="extreme"),
    "prisoner_actde_b_3a": PrisonerRun(trials=5, payoffs="b=3a"),
    "prisoner_actde_epsilon": PrisonerRun(trials=5, updates=4_000, epsilon=1e-3),
    # What could decide the limit, one at a time and together.
    "prisoner_actde_no_decay": PrisonerRun(trials=5, weight_decay=0.0),
    "prisoner_actde_one_step": PrisonerRun(trials=5, trace=0.0),
    "prisoner_actde_no_decay_one_step": PrisonerRun(trials=5, updates=6_000, weight_decay=0.0, trace=0.0),
    # The control: logits that are q / temperature by construction.
    "prisoner_boltzmann": PrisonerRun(algorithm="critic", temperature=1.0, trials=5, updates=4_000),
}

#: Runs whose final networks a chapter asks something; they are kept beside the results.
WITH_WEIGHTS = ("prisoner_actde",)
