"""The compiled network, against the readable one."""

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from stacks import far, generators, gradients, readable, sequences, stack

from actde_nb.networks import fast, gpt
from actde_nb.networks.fast import cache, front
from actde_nb.networks.gpt import GPTConfig
from actde_nb.networks.sampling import sample

TOLERANCE = 5e-5
ROOT = Path(cache.__file__).parents[3]
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def both(config, params, tokens):
    """Outputs and gradients of the two ways, with the same dropout."""
    for way in (config, readable(config)):
        outputs = gpt.forward(params, way, tokens, dropout_generators=generators(len(tokens)))
        yield outputs, gradients(params, outputs)


@pytest.mark.parametrize(
    ("config", "trials", "batch", "time"),
    [
        (GPTConfig(), 2, 64, 101),
        (GPTConfig(), 1, 1, 1),
        (GPTConfig(), 3, 17, 128),
        (GPTConfig(layers=1, vocabulary=5, block_size=40), 2, 31, 33),
        (GPTConfig(layers=4, vocabulary=1, detach_heads=True), 1, 5, 16),
        (GPTConfig(dropout=0.1), 2, 64, 101),
        (GPTConfig(layers=2, dropout=0.6, block_size=40), 2, 17, 33),
    ],
)
@pytest.mark.parametrize("extra", [0.0, 0.3])
def test_outputs_and_gradients_are_the_references(config, trials, batch, time, extra):
    params, tokens = stack(config, trials, extra=extra), sequences(config, trials, batch, time)
    (quick, fast_gradients), (reference, gradients_) = both(config, params, tokens)
    for name, one, other in zip(quick._fields, quick, reference, strict=True):
        assert far(one, other) < TOLERANCE, name
    for name, wanted in gradients_.items():
        assert far(fast_gradients[name], wanted) < TOLERANCE or not wanted.any(), name
        assert wanted.any() or not fast_gradients[name].any(), name


def test_it_is_no_further_from_the_truth_than_pytorch():
    # Large weights: float32 itself is off by more than the tolerance above, so float64 is the judge.
    config = GPTConfig()
    params, tokens = stack(config, 2, extra=1.0), sequences(config, 2, 20, 101)
    (quick, fast_gradients), (reference, gradients_) = both(config, params, tokens)
    exact = {name: value.detach().double().requires_grad_() for name, value in params.items()}
    truth = gpt.forward(exact, config, tokens)
    true_gradients = gradients(exact, truth)
    for one, other, true in zip(quick, reference, truth, strict=True):
        assert far(one.double(), true) < 3 * far(other.double(), true) + 1e-6
    for name, true in true_gradients.items():
        assert far(fast_gradients[name].double(), true) < 3 * far(gradients_[name].double(), true) + 1e-6, name


def test_scores_of_any_size_are_fine():
    # A token's own key scores about -4000 or lower here and another's as far above: the softmax shifted by its own
    # score would overflow, so the kernel has to find the largest.
    config = GPTConfig(layers=1)
    params = stack(config, 1, extra=0.3)
    with torch.no_grad():
        params["blocks.attention.weight"][:, :, :24] *= 60
    tokens = sequences(config, 1, 16, 50)
    scores = own_scores(params, config, tokens)
    assert scores.min() < -200
    (quick, fast_gradients), _ = both(config, params, tokens)
    exact = {name: value.detach().double().requires_grad_() for name, value in params.items()}
    truth = gpt.forward(exact, config, tokens)
    for one, true in zip(quick, truth, strict=True):
        assert far(one.double(), true) < 1e-3
    for name, true in gradients(exact, truth).items():
        assert torch.isfinite(fast_gradients[name]).all()
        assert far(fast_gradients[name].double(), true) < 2e-2, name


def own_scores(params, config, tokens):
    """Score of each token's own key minus the best of the keys it sees."""
    with torch.no_grad():
        q, k, _ = gpt.queries_keys_values(gpt.block_of(params, 0), config, gpt.embed(params, tokens, 0))
        scores = (q @ k.mT / k.shape[-1] ** 0.5).masked_fill(torch.ones(50, 50).triu(1).bool(), -torch.inf)
    return scores.diagonal(dim1=-2, dim2=-1) - scores.amax(-1)


@pytest.mark.parametrize("name", gpt.shapes(GPTConfig()))
def test_a_nan_anywhere_comes_through(name):
    config = GPTConfig()
    params, tokens = stack(config, 1, extra=0.2), sequences(config, 1, 16, 6)
    with torch.no_grad():
        params[name].view(-1)[0] = torch.nan
    (quick, _), (reference, _) = both(config, params, tokens)
    assert any(part.isnan().any() for part in reference)
    for one, other in zip(quick, reference, strict=True):
        # at the end only: PyTorch's 0 * NaN lets it reach back in time
        assert torch.equal(one[:, :, -1].isnan(), other[:, :, -1].isnan())


def test_one_thread_gives_the_same_bits_as_two():
    config = GPTConfig()
    params, tokens = stack(config, 3, extra=0.2), sequences(config, 3, 40, 30)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            outputs = gpt.forward(params, config, tokens)
            found.append([*outputs, *gradients(params, outputs).values()])
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_calls_from_several_threads_do_not_mix():
    config = GPTConfig()
    stacks = [stack(config, 2, extra=0.2, seed=seed) for seed in range(4)]
    tokens = sequences(config, 2, 20, 40)
    wanted = [gradients(params, gpt.forward(params, config, tokens)) for params in stacks]
    found = [None] * len(stacks)

    def work(i):
        for _ in range(5):
            found[i] = gradients(stacks[i], gpt.forward(stacks[i], config, tokens))

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(stacks))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for one, other in zip(found, wanted, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in other)


def test_memory_is_lent_to_one_graph_at_a_time():
    config = GPTConfig()
    params = stack(config, 1, extra=0.2)
    one, other = (sequences(config, 1, 16, 12, seed) for seed in (1, 2))
    alone = gradients(params, gpt.forward(params, config, one))
    first = gpt.forward(params, config, one)
    gpt.forward(params, config, other)  # must not overwrite what ``first`` needs
    loss = sum(part.sum() for part in first)
    twice = [torch.autograd.grad(loss, params["q.weight"], retain_graph=True)[0] for _ in range(2)]
    assert torch.equal(*twice)
    found = gradients(params, first)
    assert all(torch.equal(found[name], alone[name]) for name in alone)
    del first, loss
    gc.collect()
    addresses = {id(array) for leases in front.idle.values() for arrays in leases for array in arrays}
    again = gpt.forward(params, config, one)
    assert id(again.logits.grad_fn.trace.arrays[0]) in addresses


@pytest.mark.parametrize(
    ("config", "dtype"), [(GPTConfig(), torch.float64), (GPTConfig(width=24, heads=6), torch.float32)]
)
def test_what_the_kernels_do_not_know_takes_the_readable_way(config, dtype):
    params, tokens = stack(config, 1, extra=0.2, dtype=dtype), sequences(config, 1, 3, 9)
    (one, _), (other, _) = both(config, params, tokens)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    draws = gpt.dropout_of(config, None, 1, 3)
    parameters = [params[name] for name in gpt.shapes(config)]
    assert fast.network(tokens, draws, False, parameters) is None
    assert fast.sample(tokens[..., 0], torch.zeros(1, 3, 2), 1.0, draws, parameters) is None


def test_parameters_changed_before_the_backward_pass_are_noticed():
    params, tokens = stack(GPTConfig(), 1), sequences(GPTConfig(), 1, 3, 9)
    outputs = gpt.forward(params, GPTConfig(), tokens)
    with torch.no_grad():
        params["policy.weight"] += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        gradients(params, outputs)


def test_the_switch_leaves_compiled_code_alone(monkeypatch):
    def never(*_):
        raise AssertionError("compiled code was asked")

    monkeypatch.setattr(fast, "network", never)
    monkeypatch.setattr(fast, "sample", never)
    params, tokens = stack(GPTConfig(), 1), sequences(GPTConfig(), 1, 3, 9)
    for work in (
        lambda config: gpt.forward(params, config, tokens),
        lambda config: sample([params], config, tokens[..., 0], torch.rand(1, 3, 4)),
    ):
        work(readable(GPTConfig()))
        with pytest.raises(AssertionError, match="compiled code was asked"):
            work(GPTConfig())


SCRIPT = """
import torch
from actde_nb.networks import gpt
config = gpt.GPTConfig(layers=1)
params = gpt.init(config, 1, [torch.Generator().manual_seed(0)])
print(gpt.forward(params, config, torch.zeros(1, 1, 3, dtype=torch.long)).values.shape)
"""


def run_elsewhere(**environment):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT], env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, cwd=ROOT,
        capture_output=True, text=True, check=True,
    )  # fmt: skip


def test_machine_code_is_kept_where_the_user_says(tmp_path):
    said = run_elsewhere(NUMBA_CACHE_DIR=str(tmp_path)).stderr
    assert said == "\nactde-nb: compiling the network, once; takes about a minute\n"
    [folder] = tmp_path.iterdir()
    assert folder.name.startswith("actde_nb-")
    assert list(folder.rglob("*forward*.nbc"))
    assert run_elsewhere(NUMBA_CACHE_DIR=str(tmp_path)).stderr == ""


def test_it_runs_where_nothing_can_be_written(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("a file, where a folder would be needed")
    done = run_elsewhere(NUMBA_CACHE_DIR=str(blocked))
    assert "torch.Size([1, 1, 3])" in done.stdout
    assert "compiling the network, in every process, since no cache folder can be written" in done.stderr


@forks
def test_a_fork_leaves_the_memory_of_its_parent_alone():
    config = GPTConfig()
    params, (one, other) = stack(config, 1, extra=0.2), (sequences(config, 1, 16, 12, seed) for seed in (1, 2))
    wanted = gradients(params, gpt.forward(params, config, one))
    said = gpt.forward(params, config, one)
    child = os.fork()
    if not child:
        try:
            del said
            gpt.forward(params, config, other)  # in the child's copy of the memory that ``said`` had
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    found = gradients(params, said)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


FORK = """
import hashlib, multiprocessing, sys
import torch
from actde_nb.training.config import Config
from actde_nb.training.trainer import Trainer
from actde_nb.networks.gpt import GPTConfig
from actde_nb.networks.policies import Network
from actde_nb.worlds.prisoner import PrisonersDilemma

torch.set_num_threads(int(sys.argv[1]))

def train(seed):
    config = Config(trials=2, updates=40, batch=32, steps=24, seed=seed)
    trainer = Trainer(PrisonersDilemma(), Network(GPTConfig(block_size=32)), config)
    trainer.run()
    return hashlib.sha256(b"".join(x.detach().numpy().tobytes() for x in trainer.parameters.values())).hexdigest()

alone = [train(seed) for seed in range(2)]
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map_async(train, range(2), chunksize=1).get(240) == alone)
"""


@forks
@pytest.mark.parametrize("threads", [1, 2])
def test_forked_processes_train_as_one_alone(threads):
    done = subprocess.run(
        [sys.executable, "-c", FORK, str(threads)], env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "True\n", done.stderr
