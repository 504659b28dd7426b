"""The bench: its list of runs, how a rate is chosen, what is stored; verdicts on made-up runs, worked out by hand."""

import functools
import re
from math import log

import numpy as np
import pytest
import xarray as xr
import yaml
from actde_book.ch16_one_frontier import bench, verdicts
from actde_book.ch16_one_frontier.verdicts import Ground

from actde_nb import paths
from actde_nb.checks import Diverged
from actde_nb.compare import frontiers
from actde_nb.exact import policy_on_tree
from actde_nb.experiments import results, runs
from actde_nb.experiments.runs import evaluation
from actde_nb.experiments.stored_runs import LANGUAGE, language
from actde_nb.worlds.wedding import GRAMMARS

ROWS = bench.rows()
MADE = sorted(path.stem for path in paths.RESULTS.glob("bench_*.nc"))


def test_rows_differ_from_the_books_runs_in_nothing_but_what_their_names_say():
    assert ROWS["ppo_010"] == LANGUAGE["ppo_010"]
    assert ROWS["grpo_loss_010"].config.algorithm == "grpo_sequence"
    assert ROWS["clip_high"] == language("grpo", clip_high=0.28, value_coefficient=0.0)
    same = {"soft_010": "soft_010", "rloo_free": "rloo_free", "awr_released": "awr_whitened_200_cut_none"}
    same |= {"actde_return": "actde_return_separate", "gaa_hp_060": "gaa_hp_cap_060"}
    assert all(ROWS[ours] == LANGUAGE[theirs] for ours, theirs in same.items())
    for name, run in ROWS.items():
        assert (run.config.updates, run.config.batch, run.network.size) == (400, 64, "small"), name
        assert run.config.learning_rate == bench.RATES[1], name


def test_a_price_is_the_rows_own():
    told = {"ppo_010": 0.1, "ppo_loss_010": 0.1, "apa_010": 0.1, "tied_010": 0.1, "dro_010": 0.1, "gaa_hp_060": 0.6}
    told |= dict.fromkeys(("ppo_free", "ppo_adaptive", "awr_010", "apa_released", "rebel", "actde_return"), 0.0)
    assert told.items() <= bench.prices().items()
    assert set(bench.prices()) == set(ROWS)


def test_tuning_costs_as_much_as_the_bench_and_has_seeds_of_its_own():
    tuning = bench.tuning()
    assert len(bench.RATES) * bench.TUNING["trials"] == bench.TRIALS["wedding"] == 20
    assert len(tuning) == len(bench.RATES) * (len(ROWS) - len(bench.LIKE))
    assert len({task.path for task in tuning.values()}) == len(tuning)
    assert len({0, 1, bench.TUNING["seed"], bench.BENCH["seed"]}) == 4, "the book's runs have 0 and 1"
    slow = tuning["apa_010", 1e-4].run
    assert (slow.config.trials, slow.config.learning_rate, slow.config.beta) == (5, 1e-4, 0.1)
    assert slow.config.evaluate_every == slow.config.updates, "an end is what a rate is chosen by"


ENDS = {
    # Less .1 for each of so many nats: .70, .60, .73 and .72.
    "ppo_010": [(0.8, 1.0), (0.9, 3.0), (0.83, 1.0), (0.92, 2.0)],
    "ppo_free": [(0.8, 1.0), (0.9, 3.0), (0.82, 1.0), (0.92, 9.0)],
    "ppo_hp_060": [(0.8, 1.0), (0.9, 3.0), None, (0.92, 9.0)],
}


def tuned(tmp_path, monkeypatch):
    """Both trials of a row alike but for a thousandth that cancels."""
    told = {
        row: {
            rate: {"reward": [end[0] - 1e-3, end[0] + 1e-3], "nats": [end[1]] * 2, "entropy": [1.0] * 2}
            if end
            else None
            for rate, end in zip(bench.RATES, ends, strict=True)
        }
        for row, ends in ENDS.items()
    }
    monkeypatch.setattr(bench, "TUNED", tmp_path / "tuned.yml")
    bench.TUNED.write_text(yaml.safe_dump(told), encoding="utf-8")


def test_the_rate_is_the_one_that_is_worth_most_at_the_rows_price(tmp_path, monkeypatch):
    tuned(tmp_path, monkeypatch)
    # Free: the one with the highest reward. At .6 a nat: .8 - .6, and not the one that ran away.
    assert bench.best_rates() == {"ppo_010": 1e-3, "ppo_free": 3e-3, "ppo_hp_060": 1e-4, "ppo_hp_100": 1e-4}


def test_the_bench_has_the_rates_that_were_chosen_and_other_grammars_have_them_too(tmp_path, monkeypatch):
    tuned(tmp_path, monkeypatch)
    every = {name: ROWS[name] for name in (*ENDS, "ppo_hp_100")}
    monkeypatch.setattr(bench, "rows", lambda: every)
    for grammar, trials in {"wedding": 20, "uniform": 10}.items():
        task = bench.bench(grammar)["ppo_010"]
        assert (task.run.config.learning_rate, task.run.config.trials, task.run.config.seed) == (1e-3, trials, 2)
        assert (task.run.world.grammar, task.kept) == (grammar, paths.RESULTS / f"bench_{grammar}_ppo_010.nc")
    assert bench.bench("uniform").keys() <= verdicts.rows()
    assert verdicts.rows() <= set(ROWS)


LIST = """
priced:
  one:
    world: &few {kind: language, prompt: We had a lovely}
    network: &net {size: small, pretraining: 2}
    config: &short {algorithm: ppo, updates: 20, batch: 4, steps: 11, kl_in_reward: 0.1}
free:
  two: {world: *few, network: *net, config: {<<: *short, kl_in_reward: 0.0}}
"""


def test_what_is_missing_is_done_once_and_what_runs_away_is_no_choice(tmp_path, monkeypatch, capsys):
    """From nothing to the stored runs, with one rate at which a row cannot be trained."""
    (tmp_path / "list.yml").write_text(LIST, encoding="utf-8")
    for name, value in {
        "LISTED": tmp_path / "list.yml", "TUNED": tmp_path / "tuned.yml", "SCRATCH": tmp_path / "scratch",
        "RESULTS": tmp_path / "results", "RATES": (1e-4, 3e-4), "LIKE": {}, "GRAMMARS": ["wedding"],
        "TUNING": {"trials": 1, "seed": 3, "evaluate_every": 20}, "BENCH": {"seed": 2, "evaluate_every": 20},
        "TRIALS": {"wedding": 2},
    }.items():  # fmt: skip
        monkeypatch.setattr(bench, name, value)
    begun = []

    def train(run, path):
        begun.append(path.stem)
        if path.stem == "tuning_two_3e-04":
            raise Diverged("update 3: loss term policy of trial 0 is nan")
        return runs.train(run, path, progress=False)

    monkeypatch.setattr(bench, "train", train)
    bench.main()
    assert sorted(begun) == [
        "bench_wedding_one", "bench_wedding_two", "tuning_one_1e-04", "tuning_one_3e-04", "tuning_two_1e-04",
        "tuning_two_3e-04",
    ]  # fmt: skip
    assert not list(tmp_path.rglob("*.checkpoint.safetensors")), "of what is over no state is kept"
    assert bench.tuned()["two"][3e-4] is None
    assert bench.best_rates()["two"] == 1e-4
    found = bench.stored()
    assert list(found) == ["one", "two"]
    assert found["one"].sizes["update"] == 1, "five rollouts to a point"
    assert runs.differences(found["one"], runs.recompute(found["one"], 20, trials=(1,))) == []
    assert bench.ground("wedding").gold == pytest.approx(0.41, abs=0.01), "stored beside the runs"
    begun.clear()
    bench.main()
    assert begun == []
    # Without the stored file, but with the run: kept again and not run again. Not while another process has it.
    task = bench.bench()["two"]
    task.kept.unlink()
    task.path.unlink()
    with paths.reserved(task.path):
        assert not bench.attempt(task)
    assert "another process" in capsys.readouterr().out
    assert bench.attempt(task)
    assert task.kept.exists()


planned = functools.cache(bench.bench)  # reading what tuning came to takes long


@pytest.mark.parametrize("name", MADE)
def test_a_stored_run_is_the_one_that_tuning_chose(name):
    grammar, row = re.fullmatch(rf"bench_({'|'.join(GRAMMARS)})_(\w+)", name).groups()
    data = results.read(paths.RESULTS / f"{name}.nc")
    assert runs.run_of(results.settings_of(data)) == planned(grammar)[row].run
    assert len(data.attrs["commit"]) == 40, "made from a commit, without changes"
    assert "/" not in "".join(map(str, data.attrs.values())), "a path"


@pytest.mark.parametrize("name", [name for name in MADE if name in ("bench_wedding_dro_010", "bench_wedding_apa_010")])
def test_a_stored_run_begins_today_as_it_did(name):
    data = results.read(paths.RESULTS / f"{name}.nc")
    assert runs.differences(data, runs.recompute(data, 20, trials=(0, 3))) == []


def test_what_is_known_before_training_is_stored_as_it_is_computed():
    stored, anew = bench.ground("wedding"), Ground.of("wedding")
    assert (stored.gold, stored.entropy, stored.value) == pytest.approx((anew.gold, anew.entropy, anew.value), abs=1e-6)
    for ours, theirs in ((stored.best, anew.best), (stored.trapped, anew.trapped)):
        assert ours.keys() == theirs.keys()
        assert all(ours[name] == pytest.approx(theirs[name], abs=1e-4) for name in ours)


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_of_every_grammar_the_optimum_is_worth_what_is_stored(grammar):
    """A point of the frontier is worth most at its own price, where the optimum is worth a little less than over all
    texts, by what leaks."""
    ground = bench.ground(grammar)
    worth = ground.best["reward"] - verdicts.PRICE * ground.best["kl"]
    assert ground.value - 0.005 < worth.max() < ground.value + 0.001
    assert ground.best["gold"][0] == pytest.approx(ground.gold, abs=0.01)
    assert ground.best["entropy"][0] == pytest.approx(ground.entropy, abs=0.01)


TIMES = (0, 300, 400)


def run(trials: int = 4, **quantities: float | tuple[float, float]) -> xr.Dataset:
    """Trials that are all alike but for a ten-thousandth; of each quantity the end, or it and the evaluation before."""
    start = {"gold": 0.4, "kl": 0.0, "entropy": 7.0, "leak": 0.01, "honeypot": 0.02}
    later = {"gold": 0.9, "kl": 1.0, "entropy": 6.8, "leak": 0.01, "honeypot": 0.02} | quantities
    jitter = 1e-4 * np.arange(trials)
    curves = {}
    for name, end in later.items():
        middle, end = end if isinstance(end, tuple) else (end, end)
        curves[name] = np.stack([np.full(trials, start[name]), middle + jitter, end + jitter], 1)
    curves["reward"] = curves["gold"]
    exact = {n: np.where(curves["leak"] <= 0.05, v, np.nan) if n != "leak" else v for n, v in curves.items()}
    sampled = {n: v for n, v in curves.items() if n != "leak"}
    variables, coordinates = {}, {"trial": np.arange(trials), "evaluated": list(TIMES)}
    for kind, found in (("exact", exact), ("sampled", sampled)):
        variables[kind] = (("trial", "evaluated", f"{kind}_quantity"), np.stack(list(found.values()), -1))
        coordinates[f"{kind}_quantity"] = list(found)
    return xr.Dataset(variables, coordinates)


#: Gold 1 needs ten nats; entropy falls by half a nat for each of the first two.
BEST = {
    "kl": np.array([0.0, 1, 2, 10]), "reward": np.array([0.4, 0.8, 0.9, 1]), "gold": np.array([0.4, 0.8, 0.9, 1]),
    "entropy": np.array([7.0, 6.5, 6, 2]),
}  # fmt: skip
TRAPPED = {"kl": np.array([0.0, 4]), "honeypot": np.array([0.0, 1]), "gold": np.array([0.4, 0.2])}
GROUND = Ground(gold=0.4, entropy=7.0, value=0.74, best=BEST, trapped=TRAPPED)


def test_ends_are_over_all_texts():
    found = verdicts.ends(run(leak=0.02, gold=0.5, kl=2.0))
    assert found["reward"][0] == pytest.approx(0.98 * 0.5)
    assert found["nats"][0] == pytest.approx(0.98 * 2 + 0.02 * log(2) + 0.98 * log(0.98 / 0.99))
    assert found["entropy"][0] == 6.8
    left = verdicts.ends(run(leak=0.2, gold=0.5, kl=2.0))
    assert (left["reward"][0], left["nats"][0]) == (0.5, 2.0), "of samples, which are of all texts"
    assert verdicts.missed(run(leak=0.2, gold=0.5, kl=2.0), GROUND)[0] == pytest.approx(0.74 - 0.5 + 0.2)
    still = verdicts.ends(run(leak=0.0, gold=0.5, kl=2.0))
    assert still["nats"][0] == pytest.approx(2.0 - log(0.99), abs=1e-9)


def test_what_is_known_before_training():
    """Against the regret that the shelf computes; and the value that A*-PO is given is the true one."""
    ground = Ground.of("wedding", prices=20)
    before = evaluation(LANGUAGE["ppo_free"])
    found = policy_on_tree.exact(before.initial, before.initial, before.known)
    kind = ["leak", "reward", "kl", "gold", "entropy"]
    numbers = np.stack([np.concatenate([found[name].numpy()] * 2) for name in kind], -1)[None]
    data = xr.Dataset(
        {"exact": (("trial", "evaluated", "exact_quantity"), numbers)},
        {"exact_quantity": kind, "trial": [0], "evaluated": [0, 400]},
    ).assign(sampled=lambda data: data["exact"].rename(exact_quantity="sampled_quantity"))
    usual = frontiers.least_regret(data, before.initial, before.known["gold"], 0.1)
    assert verdicts.missed(data, ground) == pytest.approx(usual, abs=1e-12)
    assert ground.gold == pytest.approx(0.4105, abs=5e-4)
    assert ROWS["a_star_po_010"].config.optimal_value == pytest.approx(ground.value, abs=5e-4)
    assert ground.best["gold"] == pytest.approx(ground.best["reward"])
    assert ground.trapped["honeypot"].max() > 0.9


def test_every_prediction_has_a_verdict_and_names_grammars():
    predicted = verdicts.predictions()
    assert set(verdicts.VERDICTS) == set(predicted)
    for told in predicted.values():
        assert set(told["survives"]) <= set(GRAMMARS)


def priced(ppo: float, rloo: float, grpo: float) -> dict[str, xr.Dataset]:
    """At one nat with a leak that does not change: what is missed is .74 - .99 gold + .099."""
    return {f"{row}_010": run(gold=gold) for row, gold in (("ppo", ppo), ("rloo", rloo), ("grpo", grpo))}


OPTIMAL = priced(0.83, 0.83, 0.83)
NEAR = dict.fromkeys(("ppo_010", "rloo_010", "grpo_010", "apa_010", "tied_010", "soft_010"), run(kl=2))
FAR = dict.fromkeys(("ppo_free", "rloo_free", "grpo_free", "awr_010", "actde_return"), run(kl=6))
POTS = dict.fromkeys(("ppo_hp_060", "gaa_hp_060", "gaa_code_hp_060"), run(kl=2, honeypot=0.5, gold=0.3))
CLOSE = {"ppo_hp_100": run(kl=1, honeypot=0.2, gold=0.3)}
CASES = [
    ("near_the_optimum", True, priced(0.83, 0.83, 0.825)),  # .022: below .034
    ("near_the_optimum", False, priced(0.83, 0.83, 0.81)),  # .037
    ("not_told_apart", True, OPTIMAL),
    ("not_told_apart", False, priced(0.83, 0.829, 0.83)),
    ("loss_does_not_hold", True, {"ppo_loss_010": run(kl=(2, 3)), "ppo_010": run(kl=(1.4, 1.5))}),
    ("loss_does_not_hold", False, {"ppo_loss_010": run(kl=(4, 4)), "ppo_010": run(kl=(1.4, 1.5))}),
    ("free_ones_collapse", True, dict.fromkeys(("ppo_free", "rloo_free", "grpo_free"), run(entropy=4.6))),
    ("free_ones_collapse", False, dict.fromkeys(("ppo_free", "rloo_free"), run(entropy=2)) | {"grpo_free": run()}),
    ("free_ones_say_less", True, dict.fromkeys(("ppo_free", "awr_010"), run(kl=2, entropy=5.2))),
    ("free_ones_say_less", False, dict.fromkeys(("ppo_free", "awr_010"), run(kl=2, entropy=5.4))),  # by less than half
    ("free_ones_say_less", False, {"ppo_free": run(kl=2, entropy=5.2), "awr_010": run(kl=10, entropy=2)}),
    ("anchored_ones_say_more", True, dict.fromkeys(("apa_010", "tied_010"), run(kl=1, entropy=6.6))),
    ("anchored_ones_say_more", False, {"apa_010": run(kl=1, entropy=6.6), "tied_010": run(kl=1, entropy=6.55)}),
    # Beyond 6.5 at .8 and 6 at .9: .2 and .1.
    ("apa_says_more", True, {"apa_010": run(gold=0.8, entropy=6.7), "ppo_010": run(gold=0.9, entropy=6.1)}),
    ("apa_says_more", False, {"apa_010": run(gold=0.8, entropy=6.7), "ppo_010": run(gold=0.9, entropy=6.3)}),
    ("published_needs_a_mask", True, {"actde_000": run(gold=0.2), "actde_000_masked": run(gold=0.5)}),
    ("published_needs_a_mask", False, {"actde_000": run(gold=0.5), "actde_000_masked": run(gold=0.5)}),
    ("published_needs_a_mask", False, {"actde_000": run(gold=0.2), "actde_000_masked": run(gold=0.3)}),
    ("coded_does_not_gain", True, {"actde_095": run(gold=0), "actde_095_masked": run(gold=0.3)}),
    ("coded_does_not_gain", False, {"actde_095": run(gold=0), "actde_095_masked": run(gold=0.5)}),
    ("return_gains_and_strays", True, {"actde_return": run(gold=0.8, kl=3, leak=(0.06, 0.01))}),
    ("return_gains_and_strays", False, {"actde_return": run(gold=0.8, kl=3)}),  # stays
    ("return_gains_and_strays", False, {"actde_return": run(gold=0.8, kl=1.5, leak=(0.06, 0.01))}),  # half a nat
    ("return_gains_and_strays", False, {"actde_return": run(gold=0.3, kl=3, leak=(0.06, 0.01))}),
    ("one_curve", True, POTS | CLOSE),
    ("one_curve", True, POTS | CLOSE | {"gaa_hp_060": run(kl=1, honeypot=0.25, gold=0.35)}),  # farther back on it
    ("one_curve", False, POTS | CLOSE | {"gaa_hp_060": run(kl=2, honeypot=0.4, gold=0.3)}),
    ("one_curve", False, POTS | CLOSE | {"gaa_code_hp_060": run(kl=2, honeypot=0.5, gold=0.4)}),
    ("one_curve", False, POTS | {"ppo_hp_100": POTS["ppo_hp_060"]}),
    ("soft_tie_first", True, OPTIMAL | {"soft_010": run(gold=0.84)}),
    ("soft_tie_first", False, priced(0.83, 0.83, 0.85) | {"soft_010": run(gold=0.84)}),
    ("pull_decides", True, NEAR | FAR),
    ("pull_decides", False, NEAR | FAR | {"soft_010": run(kl=7)}),
    ("pull_decides", False, NEAR | FAR | {"actde_return": run(kl=1)}),
]


@pytest.mark.parametrize(("name", "held", "made_up"), CASES)
def test_a_verdict(name, held, made_up):
    assert verdicts.judged(made_up, GROUND)[name].held == held


def test_what_has_not_been_run_is_not_judged():
    assert set(verdicts.judged(OPTIMAL, GROUND)) == {"near_the_optimum", "not_told_apart"}
