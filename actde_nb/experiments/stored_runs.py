"""The runs behind the book that are too long for a page: what each stored file holds."""

from itertools import product
from typing import Any

from actde_nb.experiments import runs
from actde_nb.experiments.runs import CRITICS, GPTSettings, Run
from actde_nb.training.algorithms import ALGORITHMS
from actde_nb.training.config import Config


def prisoner(payoffs: str = "main", network: GPTSettings | None = None, **settings: Any) -> Run:
    """A run in the dilemma; ``settings`` are those of the :class:`~actde_nb.training.config.Config`."""
    return Run(Config(**settings), runs.PrisonerWorld(payoffs), network or GPTSettings())


PREDICTING = {"algorithm": "critic", "trials": 5, "updates": 4_000}

PRISONER: dict[str, Run] = {
    "prisoner_ppo": prisoner(algorithm="ppo", updates=2_000),
    "prisoner_ppo_whitened": prisoner(algorithm="ppo", trials=5, updates=2_000, whiten=True),
    "prisoner_ppo_detached": prisoner(algorithm="ppo", trials=5, updates=2_000, network=GPTSettings(detach_heads=True)),
    "prisoner_ppo_dropout": prisoner(algorithm="ppo", trials=5, updates=2_000, network=GPTSettings(dropout=0.1)),
    "prisoner_actde": prisoner(),
    "prisoner_actde_dropout": prisoner(network=GPTSettings(dropout=0.1)),  # as in the published code
    "prisoner_actde_whitened": prisoner(trials=5, whiten=True),
    "prisoner_actde_detached": prisoner(trials=5, network=GPTSettings(detach_heads=True)),
    "prisoner_actde_expectile": prisoner(algorithm="actde_expectile", trials=5),
    "prisoner_actde_b_1": prisoner(trials=5, payoffs="b=1"),
    "prisoner_actde_b_07": prisoner(trials=5, payoffs="b=.7"),
    "prisoner_actde_extreme": prisoner(trials=5, payoffs="extreme"),
    "prisoner_actde_b_3a": prisoner(trials=5, payoffs="b=3a"),
    "prisoner_actde_epsilon": prisoner(trials=5, epsilon=1e-3),
    # What could decide the limit, one at a time and together, for longer.
    "prisoner_actde_long": prisoner(trials=5, updates=40_000),
    "prisoner_actde_no_decay": prisoner(trials=5, updates=40_000, weight_decay=0.0),
    "prisoner_actde_one_step": prisoner(trials=5, updates=40_000, gae_lambda=0.0),
    "prisoner_actde_no_decay_one_step": prisoner(trials=5, updates=40_000, weight_decay=0.0, gae_lambda=0.0),
    # Steps that shrink with the gradients, and no decay: what is left of the fall?
    "prisoner_actde_epsilon_no_decay": prisoner(trials=5, epsilon=1e-3, weight_decay=0.0),
    "prisoner_rejection": prisoner(algorithm="rejection", trials=5, updates=2_000),  # the published code's third
    # The control: logits that are q / temperature by construction; the later two where q depends on the policy.
    "prisoner_boltzmann": prisoner(network=GPTSettings(temperature=1.0), **PREDICTING),
    **{
        f"prisoner_boltzmann_{name}": prisoner(payoffs, GPTSettings(temperature=t), **PREDICTING)
        for name, payoffs, t in (("b_07", "b=.7", 0.25), ("extreme", "extreme", 1.0))
    },
}


def language(
    algorithm: str, *, reward: str = "gold", size: str = "small", critic: str = "shared", temperature: float = 0.0,
    masked: bool = False, **settings: Any,
) -> Run:  # fmt: skip
    """A run on the language, whose advantages are whitened unless they are to be fitted or q comes in."""
    row = ALGORITHMS[algorithm]
    raw = row.fits_advantages or row.learns_q
    config = runs.language_config(**{"algorithm": algorithm, "whiten": not raw, **settings})
    network = runs.PretrainedSettings(size, critic=critic, masked=masked, temperature=temperature)
    return Run(config, runs.LanguageWorld(reward), network)


def percent(number: float) -> str:
    """A setting as part of a file's name."""
    return f"{round(100 * number):03}"


PRICES, LEASHES = (0.3, 0.1, 0.05), (0.3, 0.6, 1.0)
GREEDY = ("gaa", "gaa_scaled", "gaa_batch", "gaa_code", "gaa_code_unscaled")

#: Reward and divergence at matched price.
MATCHED: dict[str, Run] = {
    "ppo_free": language("ppo"),
    "ppo_adaptive": language("ppo", kl_in_reward=0.05, kl_target=6.0),  # trlX's PPO, to which APA was compared
    **{f"ppo_{percent(price)}": language("ppo", kl_in_reward=price) for price in PRICES},
    **{f"{name}_{percent(price)}": language(name, beta=price) for name in ("apa", "awr") for price in PRICES},
    # As released: whitened, at 1/10 and 2; and with each other's temperature.
    **{f"{n}_whitened_{percent(b)}": language(n, beta=b, whiten=True) for n in ("apa", "awr") for b in (0.1, 2.0)},
    **{f"{name}_free": language(name, value_coefficient=0.0) for name in ("rloo", "grpo")},
    **{f"{name}_010": language(name, value_coefficient=0.0, kl_in_reward=0.1) for name in ("rloo", "grpo")},
}

#: The other way round: a group's advantages as they are, with the KL penalty in the reward or in the loss, by each of
#: its estimators; whitened on top; a bonus on entropy; and AWR with its weights cut elsewhere, or nowhere.
GROUPS = {"value_coefficient": 0.0, "whiten": False}
PLACES: dict[str, Run] = {
    **{
        f"{name}_raw_{place}": language(name, **GROUPS, **settings)
        for name, (place, settings) in product(
            ("rloo", "grpo", "dr_grpo"),
            (
                ("free", {}),
                ("reward_010", {"kl_in_reward": 0.1}),
                ("loss_010", {"kl_in_loss": 0.1, "kl_estimator": "k3"}),
            ),
        )
    },
    **{
        f"grpo_raw_{kind}_010": language("grpo", **GROUPS, kl_in_loss=0.1, kl_estimator=kind)
        for kind in ("exact", "k1", "k2")
    },
    "grpo_raw_loss_030": language("grpo", **GROUPS, kl_in_loss=0.3, kl_estimator="k3"),
    **{
        f"{name}_loss_010": language(name, value_coefficient=0.0, kl_in_loss=0.1, kl_estimator="k3")
        for name in ("rloo", "grpo")
    },
    "ppo_loss_010": language("ppo", kl_in_loss=0.1),
    **{f"ppo_entropy_{percent(bonus)}": language("ppo", entropy_bonus=bonus) for bonus in (0.03, 0.1)},
    **{
        f"awr_whitened_010_cut_{name}": language("awr", beta=0.1, whiten=True, largest_weight=weight)
        for name, weight in (("5", 5.0), ("100", 100.0), ("none", 1e6))
    },
    "awr_whitened_200_cut_none": language("awr", beta=2.0, whiten=True, largest_weight=1e6),
    "awr_005_cut_none": language("awr", beta=0.05, largest_weight=1e6),
}

#: The released comparison in two more sizes.
SIZES: dict[str, Run] = {
    f"{name}_{size}": language(algorithm, size=size, **settings)
    for size in ("medium", "large")
    for name, algorithm, settings in (
        ("ppo_adaptive", "ppo", {"kl_in_reward": 0.05, "kl_target": 6.0}),
        ("apa_whitened_010", "apa", {"beta": 0.1, "whiten": True}),
        ("awr_whitened_200", "awr", {"beta": 2.0, "whiten": True}),
    )
} | {
    # At a third of the others' learning rate, in all three.
    f"apa_whitened_010_slow{end}": language("apa", size=size, beta=0.1, whiten=True, learning_rate=1e-4)
    for size, end in (("small", ""), ("medium", "_medium"), ("large", "_large"))
}

#: What is optimised is not what is wanted: the learned reward.
LEARNED: dict[str, Run] = {
    **{f"ppo_learned_{percent(p)}": language("ppo", reward="learned", kl_in_reward=p) for p in (0, 0.1, 0.3)},
    "apa_learned_030": language("apa", reward="learned", beta=0.3),
    "awr_learned_030": language("awr", reward="learned", beta=0.3),
}

#: Honeypots, with the divergence in the loss as a leash, for PPO and all forms of GAA; equal learning rates of heads.
HONEYPOT: dict[str, Run] = {
    f"{algorithm}_{reward}_{percent(leash)}": language(algorithm, reward=reward, kl_in_loss=leash)
    for reward, algorithm, leash in (
        *product(("hp_cap",), ("ppo", *GREEDY), LEASHES),
        *product(("hp_unc",), ("ppo", "gaa", "gaa_batch", "gaa_code"), LEASHES),
        *product(("hp_cap", "hp_unc"), ("ppo",), (0.4, 0.5, 0.8, 1.5)),
    )
}
#: The same with leads in units of reward, of which one is all that a sentence can be paid.
IN_REWARDS: dict[str, Run] = {
    f"{algorithm}_hp_cap_{percent(leash)}": language(algorithm, reward="hp_cap", kl_in_loss=leash, sigma_scale=1.0)
    for algorithm, leash in product(("gaa_reward", "gaa_batch_reward"), LEASHES)
}
#: As the published scripts have it: steeper cuts, sampling at .6.
STEEP = {"kl_in_loss": 1.0, "sampling_temperature": 0.6, "sigma_scale": 3.0, "eta_scale": 2.0}
SCRIPTS: dict[str, Run] = {
    f"{algorithm}_{reward}_script": language(algorithm, reward=reward, **STEEP)
    for algorithm, reward in product(("ppo", "gaa_code"), ("hp_cap", "hp_unc"))
}

#: The price in the reward, and groups with the penalty in the loss as its authors have it.
HONEYPOT_PLACES: dict[str, Run] = {
    **{
        f"{name}_hp_cap_reward_{percent(price)}": language(name, reward="hp_cap", kl_in_reward=price, **settings)
        for (name, settings), price in product((("ppo", {}), ("rloo", GROUPS)), (0.1, 0.3, 0.6))
    },
    **{
        f"{name}_hp_cap_loss_{percent(weight)}": language(
            name, reward="hp_cap", **GROUPS, kl_in_loss=weight, kl_estimator="k3"
        )
        for name, weights in (("grpo", (0.3, 0.6, 1.0)), ("dr_grpo", (0.1, 0.3, 0.6)))
        for weight in weights
    },
    **{
        f"grpo_hp_cap_whitened_{percent(weight)}": language(
            "grpo", reward="hp_cap", value_coefficient=0.0, kl_in_loss=weight, kl_estimator="k3"
        )
        for weight in (0.3, 0.6)
    },
    **{
        f"ppo_hp_cap_raw_{percent(weight)}": language("ppo", reward="hp_cap", whiten=False, kl_in_loss=weight)
        for weight in (0.1, 0.3)
    },
}

#: ACTDE in its forms; the last ones have a larger epsilon of Adam, so that steps shrink with gradients.
STILL = {"epsilon": 1e-3, "learning_rate": 1e-3}
ACTDE: dict[str, Run] = {
    **{
        f"actde_{percent(trace)}_{critic}": language("actde", gae_lambda=trace, critic=critic)
        for trace, critic in product((0.0, 0.95), CRITICS)
    },
    **{f"actde_{percent(trace)}_whitened": language("actde", gae_lambda=trace, whiten=True) for trace in (0.0, 0.95)},
    **{f"actde_return_{critic}": language("actde_return", critic=critic) for critic in CRITICS},
    "actde_return_whitened": language("actde_return", whiten=True),
    "actde_corrected": language("actde_corrected", critic="separate"),
    **{f"tied_{percent(t)}": language("critic", temperature=t) for t in PRICES},
    **{f"soft_{percent(t)}": language("soft_critic", temperature=t, kl_in_reward=t) for t in PRICES},
    "actde_return_still": language("actde_return", critic="separate", updates=1_200, **STILL),
    "actde_return_fast_q": language("actde_return", critic="separate", updates=1_200, **STILL | {"head_rate": 10.0}),
    "actde_return_slow_q": language("actde_return", critic="separate", updates=1_200, **STILL | {"head_rate": 1.0}),
    "actde_return_drift": language("actde_return", critic="separate", updates=1_200),
    "actde_return_hp_cap": language("actde_return", critic="separate", reward="hp_cap", **STILL),
}

#: What decides whether ACTDE as published gains: words ruled out, lambda, whose trunk the critics have, how fast their
#: heads learn, what a nat costs and where. On draws of their own, twice as many where the answer is counted.
PUBLISHED: dict[str, Run] = {
    **{
        f"actde_{where}_{percent(trace)}_{critic}": language(
            "actde", masked=masked, gae_lambda=trace, critic=critic, seed=1, trials=10
        )
        for (where, masked), trace, critic in product((("masked", True), ("open", False)), (0.0, 0.5, 0.95), CRITICS)
    },
    "ppo_masked": language("ppo", masked=True, seed=1, trials=10),
    "actde_masked_return_separate": language("actde_return", masked=True, critic="separate", seed=1, trials=10),
    **{
        f"actde_{where}_{percent(trace)}_{place}_{percent(cost)}": language(
            "actde", masked=masked, gae_lambda=trace, critic="separate", seed=1, **{f"kl_in_{place}": cost}
        )
        for place, cost, (where, masked), trace in product(
            ("reward", "loss"), (0.03, 0.1, 0.3), (("masked", True), ("open", False)), (0.0, 0.95)
        )
    },
    **{
        f"actde_masked_{percent(trace)}_head_{name}": language(
            "actde", masked=True, gae_lambda=trace, critic="separate", seed=1, head_rate=rate
        )
        for trace, (name, rate) in product((0.0, 0.95), (("slow", 0.3), ("fast", 30.0)))
    },
    **{
        f"actde_masked_{percent(trace)}_still": language(
            "actde", masked=True, gae_lambda=trace, critic="separate", seed=1, **STILL
        )
        for trace in (0.0, 0.95)
    },
}

LANGUAGE = {
    **MATCHED, **PLACES, **SIZES, **LEARNED, **HONEYPOT, **IN_REWARDS, **SCRIPTS, **HONEYPOT_PLACES, **ACTDE,
    **PUBLISHED,
}  # fmt: skip

#: File name, without its ending -> the run. Trials of the same number share their random draws across runs.
PROGRAMME: dict[str, Run] = {**PRISONER, **{f"language_{name}": run for name, run in LANGUAGE.items()}}

#: Runs whose final networks a chapter asks something; they are kept beside the results.
WITH_WEIGHTS = ("prisoner_actde",)
