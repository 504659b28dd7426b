"""What fine-tuning a real language model costs, in CPU-seconds of one thread, and beside Hugging Face's TRL.

Run with ``python benchmarks/finetune.py``, once ``actde-nb model`` has fetched the model, SmolLM2-135M-Instruct; with
``pip install .[benchmark]`` TRL takes part. It takes about 15 minutes of one core, and 8 GB of memory beside TRL. A
limit that is missed is printed as wanted, and makes the exit status 1.

CPU-seconds count the work of this process alone, whatever else the machine does, but a busy machine makes each of them
worth less: compare numbers of one run. Of a few iterations, those that are compared in turns, the cheapest is the one
least disturbed; the first, in which much is made once, never is. A token is one that counts: what is drawn after the
end of a completion counts on neither side.
"""

import gc
import os
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

# Read when they are imported: nothing is asked of the network.
os.environ.update({"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"})

import torch
import transformers
from transformers import AutoModelForCausalLM

from actde_nb.finetune import models, smollm2, texts
from actde_nb.finetune.loop import FineTuning, Work
from actde_nb.finetune.settings import Settings
from actde_nb.training.rollout import Rollout

REPEATS, BLOCKS, GROUP, PROMPT = 3, 30, 4, "The movie was"
PPO = {"row": "ppo", "learns": "last:2", "batch": 32, "steps": 12, "whiten": True, "learning_rate": 3e-4}
#: What TRL's trainer does with a rollout: one update on all of it.
ONCE = {"row": "rloo", "updates_per_rollout": 1, "minibatches": 1, "group_size": GROUP, "kl_in_reward": 0.05}
SECONDS, GIBIBYTES, GAA = 9.0, 2.5, 1.3  # most that an iteration of PPO may take; and one of GAA, in those of PPO
#: What is compared with TRL's full fine-tuning, and how many times cheaper a token is wanted to be.
PEERS = {
    "all, an update": ({**ONCE, "learns": "all", "learning_rate": 1e-5}, 1.3),
    "last:2, 4 half updates": ({**ONCE, "updates_per_rollout": 4, "minibatches": 2}, 1.5),
}
#: What changes in an iteration of PPO, one thing at a time. Unchanged are 32, 12, last:2 and 30.
GROWTH = {"batch": (16, 64), "steps": (24, 48), "learns": ("lora:16", "all"), "blocks": (10, 20)}


class Cost(NamedTuple):
    """What an iteration cost, in CPU-seconds, and what it learned from."""

    seconds: float
    tokens: float

    @property
    def of_token(self) -> float:
        """CPU-seconds a token."""
        return self.seconds / self.tokens


class Timed(FineTuning):
    """A run that knows the CPU-seconds of its last iteration's stages."""

    def play(self) -> tuple[Work, dict[str, float]]:
        start = time.process_time()
        played = super().play()
        self.sampling = time.process_time() - start - self.reference
        return played

    def _rollout(self, *sampled) -> Rollout:
        start = time.process_time()
        rollout = super()._rollout(*sampled)
        self.reference = time.process_time() - start
        return rollout

    def cost(self) -> Cost:
        """Of one more iteration."""
        start = time.process_time()
        self.step()
        seconds = time.process_time() - start
        self.learning = seconds - self.sampling - self.reference
        return Cost(seconds, self.settings.batch * self.records[-1]["length"].item())


def reward(prompts: Sequence[str], completions: Sequence[str], **_) -> list[float]:
    """Of any text, at no cost."""
    return [float(text.lower().split().count("so")) for text in completions]


def begun(folder: Path, blocks: int = BLOCKS, **changed) -> Timed:
    """A run that has done one iteration, so that whatever is made once is. Fewer ``blocks`` make a smaller network, of
    the same width: what it says is of no use, and costs what such a network costs."""
    settings = Settings(**{**PPO, **changed})
    options = {"num_hidden_layers": blocks, "dtype": torch.float32, "use_safetensors": True}
    module = AutoModelForCausalLM.from_pretrained(folder, **options)
    model = models.load(module, settings.learns, folder)
    run = Timed(model, texts.read([PROMPT], model, settings.steps), reward, settings)
    run.step()
    return run


def memory() -> float:
    """Most memory that this process has had, in GiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


class Limits:
    """What was wanted and missed."""

    def __init__(self):
        self.missed = 0

    def most(self, value: float, limit: float) -> str:
        """What to print behind a value that must not be above ``limit``."""
        return self._verdict(value <= limit, f", wanted {limit:g} at most")

    def least(self, value: float, limit: float) -> str:
        """The same for one that must not be below."""
        return self._verdict(value >= limit, f", wanted {limit:g}")

    def _verdict(self, kept: bool, wanted: str) -> str:
        self.missed += not kept
        return "" if kept else wanted


def iteration(folder: Path, limits: Limits) -> Iterator[str]:
    """One of PPO, and one of GAA beside it."""
    run = begun(folder)
    turns = []
    for _ in range(REPEATS):
        cost = run.cost()
        turns.append((cost, {stage: getattr(run, stage) for stage in ("sampling", "reference", "learning")}))
    best, stages = min(turns, key=lambda turn: turn[0])
    most = memory()
    name = "PPO, last:2, 4 half updates"
    yield f"{name:32}{best.seconds:8.2f} CPU-seconds{limits.most(best.seconds, SECONDS)}"
    for stage, seconds in stages.items():
        yield f"    {stage:28}{seconds:8.2f}"
    yield f"    {'most memory so far':28}{most:8.2f} GiB{limits.most(most, GIBIBYTES)}"
    other = begun(folder, row="gaa")
    ppo, gaa = (min(costs).seconds for costs in zip(*[(run.cost(), other.cost()) for _ in range(REPEATS)], strict=True))
    verdict = limits.most(gaa / ppo, GAA)
    yield f"{'GAA':32}{gaa:8.2f} CPU-seconds, PPO beside it {ppo:.2f}: {gaa / ppo:.2f} times{verdict}"


def growth(folder: Path) -> Iterator[str]:
    """An iteration of PPO where one thing changes; blocks are those that are left of the network."""

    def seconds(**changed) -> float:
        run = begun(folder, **changed)
        return min(run.cost() for _ in range(REPEATS)).seconds

    usual = seconds()
    yield f"{'PPO, as at first':32}{usual:8.2f} CPU-seconds"
    for name, values in GROWTH.items():
        for value in values:
            changed = seconds(**{name: value})
            gc.collect()
            yield f"{f'PPO, {name} {value}':32}{changed:8.2f} CPU-seconds, {changed / usual:.2f} times"


def beside_trl(folder: Path, limits: Limits) -> Iterator[str]:
    """RLOO, full fine-tuning in float32 by TRL, and ours in turns with it, an iteration each.

    The reward is ours, of the same texts. Precision, dropout and checkpointing are set as they are with us."""
    try:
        import trl
        from datasets import Dataset
    except ImportError as missing:
        yield f"TRL is not measured ({missing}); pip install .[benchmark]"
        return
    ours = {name: begun(folder, **settings) for name, (settings, _) in PEERS.items()}
    costs, lengths, starts = {name: [] for name in ("TRL", *PEERS)}, [], []

    def judge(prompts: Sequence[str], completions: Sequence[str], completion_ids: Sequence[Sequence[int]], **_):
        lengths.append(sum(map(len, completion_ids)))
        return reward(prompts, completions)

    class Turns(transformers.TrainerCallback):
        """Clocks TRL's iteration, which begins before it draws and ends when the optimiser has moved."""

        def on_step_begin(self, *_, **__):
            starts.append(time.process_time())

        def on_step_end(self, *_, **__):
            costs["TRL"].append(Cost(time.process_time() - starts[-1], lengths[-1]))
            for name, run in ours.items():
                costs[name].append(run.cost())

    batch, steps = PPO["batch"], PPO["steps"]
    with tempfile.TemporaryDirectory() as out:
        settings = trl.RLOOConfig(
            output_dir=out, per_device_train_batch_size=batch, num_generations=GROUP, steps_per_generation=1,
            num_iterations=1, max_steps=1 + REPEATS, beta=0.05, max_completion_length=steps, learning_rate=1e-5,
            model_init_kwargs={"dtype": "float32"}, use_cpu=True, bf16=False, gradient_checkpointing=False,
            dataloader_pin_memory=False, report_to="none", logging_strategy="no", save_strategy="no", disable_tqdm=True,
        )  # fmt: skip
        trainer = trl.RLOOTrainer(
            model=str(folder), reward_funcs=judge, args=settings, callbacks=[Turns()],
            train_dataset=Dataset.from_list([{"prompt": PROMPT}] * batch),
        )  # fmt: skip
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
    best = {name: min(found[1:], key=lambda cost: cost.of_token) for name, found in costs.items()}
    theirs = best.pop("TRL")
    yield f"{f'RLOO, TRL {trl.__version__}, all':32}{theirs.seconds:8.2f} CPU-seconds, {theirs.tokens:.0f} tokens"
    for name, cost in best.items():
        times = theirs.of_token / cost.of_token
        verdict = limits.least(times, PEERS[name][1])
        said = f"{cost.seconds:8.2f} CPU-seconds, {cost.tokens:.0f} tokens: {times:.2f} times cheaper a token{verdict}"
        yield f"{f'RLOO, here, {name}':32}{said}"
    yield f"{'    most memory so far':32}{memory():8.2f} GiB"


def main() -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("ignore", FutureWarning)  # what libraries say of each other's options
    folder = smollm2.where()
    if folder is None:
        sys.exit("the model is not there: actde-nb model fetches it")
    rollout = f"{PPO['batch']} completions of at most {PPO['steps']} tokens"
    print(f"one thread, torch {torch.__version__}, transformers {transformers.__version__}; an iteration is {rollout}")
    print(f"load of the machine: {' '.join(f'{load:.1f}' for load in os.getloadavg())}")
    limits = Limits()
    for line in chain(iteration(folder, limits), beside_trl(folder, limits), growth(folder)):
        print(line, flush=True)
    sys.exit(min(limits.missed, 1))


if __name__ == "__main__":
    main()
