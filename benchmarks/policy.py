"""Speed of the compiled network beside the readable one: a forward pass, the same with gradients, and sampling.

Run with ``OMP_NUM_THREADS=1 python benchmarks/policy.py`` for the factors that :mod:`actde_nb.networks.fast` quotes.
Milliseconds of the fastest of a few repeats, for stacks of 1, 10 and 40 trials of 64 sequences of 101 tokens, on as
many threads as PyTorch uses, each beside the processor time that it took (equal to the number of threads times the
first on an idle machine). Compiling is measured in an empty cache.
"""

import os
import subprocess
import sys
import tempfile
import time

import torch

from actde_nb.networks import gpt
from actde_nb.networks.sampling import sample

TRIALS, BATCH, TIME, REPEATS = (1, 10, 40), 64, 101, 7
WANTED = {"with gradients": 40, "sampling": 50}  # milliseconds at ten trials on two cores

FIRST_CALLS = """
import time, torch
from actde_nb.networks import gpt
from actde_nb.networks.sampling import sample
config = gpt.GPTConfig()
params = gpt.init(config, 1, [torch.Generator().manual_seed(0)])
tokens = torch.zeros(1, 1, 2, dtype=torch.long)
start = time.perf_counter()
gpt.forward({name: value.requires_grad_() for name, value in params.items()}, config, tokens).values.sum().backward()
sample([params], config, tokens[..., 0], torch.zeros(1, 1, 1))
print(time.perf_counter() - start)
"""


def first_calls(cache: str) -> float:
    """Seconds that the first calls take in a new process."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    done = subprocess.run([sys.executable, "-c", FIRST_CALLS], env=environment, capture_output=True, check=True)
    return float(done.stdout)


def best(work, repeats: int = REPEATS) -> tuple[float, float]:
    """Milliseconds on the clock and of processor time, in the repeat that was shortest on the clock."""
    work()
    took = []
    for _ in range(repeats):
        clock, processor = time.perf_counter(), time.process_time()
        work()
        took.append((1e3 * (time.perf_counter() - clock), 1e3 * (time.process_time() - processor)))
    return min(took)


def stages(trials: int, compiled: bool, dropout: float = 0.0) -> dict:
    """The three things to time, as functions without arguments."""
    config = gpt.GPTConfig(compiled=compiled, dropout=dropout)
    params = gpt.init(config, trials, [torch.Generator().manual_seed(trial) for trial in range(trials)])
    params = {name: value.requires_grad_() for name, value in params.items()}
    draws = [torch.Generator().manual_seed(trial) for trial in range(trials)]
    tokens = torch.randint(2, (trials, BATCH, TIME), generator=torch.Generator().manual_seed(0))
    uniforms = torch.rand(trials, BATCH, TIME - 1, generator=torch.Generator().manual_seed(1))

    def forward():
        with torch.no_grad():
            gpt.forward(params, config, tokens, dropout_generators=draws)

    def gradients():
        outputs = gpt.forward(params, config, tokens, dropout_generators=draws)
        torch.autograd.grad(outputs, list(params.values()), [torch.ones_like(part) for part in outputs])

    return {
        "forward": forward,
        "with gradients": gradients,
        "sampling": lambda: sample([params], config, tokens[..., 0], uniforms, dropout_generators=draws),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as cache:
        print(f"first calls: {first_calls(cache):.1f} s compiling, {first_calls(cache):.1f} s in the next process")
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}; milliseconds (processor time)")
    for trials in TRIALS:
        for name, work in stages(trials, compiled=True).items():
            clock, processor = best(work)
            line = f"{trials:3} trials  {name:15}{clock:8.1f} ({processor:.0f})"
            if trials == 10 and name in WANTED:
                line += f", wanted {WANTED[name]}"
            print(line)
    for dropout in (0.0, 0.1):
        ways = (stages(10, compiled, dropout) for compiled in (True, False))
        for (name, quick), slow in zip(next(ways).items(), next(ways).values(), strict=True):
            (clock, processor), (slow_clock, slow_processor) = best(quick), best(slow, 3)
            print(
                f" 10 trials  dropout {dropout}  {name:15}{clock:8.1f} ({processor:.0f}), readable "
                f"{slow_clock:8.1f} ({slow_processor:.0f}): {slow_processor / processor:.0f} times the processor time"
            )


if __name__ == "__main__":
    main()
