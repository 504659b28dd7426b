"""What fine-tuning on the small language costs, in CPU-seconds of one thread, and beside Hugging Face's TRL.

Run with ``python benchmarks/language.py``; with ``pip install .[benchmark]`` TRL takes part. CPU-seconds count the work
of this process alone, whatever else the machine does, but a busy machine makes each of them worth less: compare numbers
of one run. Of a few turns the cheapest is the one least disturbed.

Seconds are CPU-seconds throughout. A token is a word that a sentence asked for, its full stop included. What a sampler
draws after the end of a sentence, to fill up the batch, counts on neither side.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import joblib
import torch

from actde_nb import paths
from actde_nb.exact import policy_on_tree
from actde_nb.networks import gpt
from actde_nb.networks.policies import Network
from actde_nb.training.config import Config
from actde_nb.training.pretrain import WIDTHS, PretrainedGPT, Pretraining, network
from actde_nb.training.trainer import Trainer
from actde_nb.worlds.language import MEASURES, Language

SENTENCES, SEEDS, REPEATS, WANTED = 64, 5, 3, 3
WORLD = Language()
PPO = Config(
    algorithm="ppo", trials=1, batch=SENTENCES, steps=WORLD.words, updates_per_rollout=4, minibatches=2,
    kl_in_reward=0.1, discount=1.0, whiten=True, learning_rate=1e-3, weight_decay=0.0, updates=4, checkpoint_every=4,
)  # fmt: skip
#: The work that TRL's trainers do: two updates, each on all sentences, which are one group.
SAME_WORK = {"updates_per_rollout": 2, "minibatches": 1, "group_size": SENTENCES, "kl_in_reward": 0.0}
#: What an iteration may cost, in those of PPO.
LIMITS = {"gaa": 1.35, "gaa_code": 1.35, "actde": 1.25, "actde_return": 1.25}
PEERS = {"GRPO": {"algorithm": "grpo", "kl_in_loss": 0.05}, "RLOO": {"algorithm": "rloo", "kl_in_reward": 0.05}}


def fluent(size: str) -> PretrainedGPT:
    """A network that speaks well enough for sentences to have their usual length."""
    folder = paths.BUILD / "pretrained"
    return PretrainedGPT(
        network(WORLD.grammar, size), grammar=WORLD.grammar, settings=Pretraining(steps=100), folder=folder
    )


def begun(size: str = "medium", **settings) -> Trainer:
    """A run that has done one iteration, so that whatever is made once is."""
    trainer = Trainer(WORLD, fluent(size), Config(**{**vars(PPO), **settings}))
    trainer.step()
    trainer.seconds.clear()
    return trainer


def cost(trainer: Trainer, iterations: int = 20) -> tuple[float, float]:
    """CPU-seconds of 100 iterations, and tokens a CPU-second."""
    start = time.process_time()
    for _ in range(iterations):
        trainer.step()
    seconds = time.process_time() - start
    lengths = trainer.records.column("sentence")[-iterations:, :, MEASURES.index("length")]
    return 100 * seconds / iterations, SENTENCES * lengths.sum().item() / seconds


def alone(size: str, seed: int) -> float:
    """CPU-seconds of 100 iterations of one seed, in a process of its own."""
    torch.set_num_threads(1)
    return cost(begun(size, seed=seed))[0]


def evaluation(size: str) -> float:
    """CPU-seconds to know everything about one policy."""
    policy = fluent(size)
    params = policy.init([torch.Generator()])
    initial = policy_on_tree.of_policy(WORLD.tree, WORLD.grammar, Network(policy.config), params)
    rewards = {"gold": WORLD.worth(WORLD.tree.sentences)}

    def once() -> float:
        start = time.process_time()
        said = policy_on_tree.of_policy(WORLD.tree, WORLD.grammar, Network(policy.config), params)
        policy_on_tree.exact(said, initial, rewards, "gold", 0.1)
        return time.process_time() - start

    return min(once() for _ in range(REPEATS))


def as_gpt2(config: gpt.GPTConfig, params: gpt.Params, folder: Path) -> None:
    """Save the same network, without its heads of v and q, as a GPT-2 with a tokenizer that knows the language."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    words = WORLD.grammar.vocabulary
    pad, begin, *_ = words
    marks = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": words.index(".")}
    module = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(words), n_positions=config.block_size, n_embd=config.width, n_layer=config.layers,
            n_head=config.heads, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, tie_word_embeddings=False, **marks,
        )
    )  # fmt: skip
    theirs = {
        "token_embedding": "transformer.wte.weight", "position_embedding": "transformer.wpe.weight",
        "norm.weight": "transformer.ln_f.weight", "norm.bias": "transformer.ln_f.bias",
        "policy.weight": "lm_head.weight",
    }  # fmt: skip
    state = {name: params[ours][0] for ours, name in theirs.items()}
    blocks = {
        "norm1": "ln_1", "attention": "attn.c_attn", "attention_out": "attn.c_proj", "norm2": "ln_2",
        "mlp": "mlp.c_fc", "mlp_out": "mlp.c_proj",
    }  # fmt: skip
    for ours, name in blocks.items():
        for layer in range(config.layers):
            for kind in ("weight", "bias"):
                value = params[f"blocks.{ours}.{kind}"][0, layer]
                state[f"transformer.h.{layer}.{name}.{kind}"] = value.mT if value.ndim == 2 else value
    module.load_state_dict({name: value.contiguous() for name, value in state.items()})
    module.save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token=pad))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, bos_token=begin, eos_token=".", padding_side="left"
    ).save_pretrained(folder)


def trl_cost(name: str, folder: Path, iterations: int = 15, before: int = 3) -> tuple[float, float]:
    """The same two numbers for one of TRL's trainers, once it has done a few iterations.

    The reward is ours, of the same tokens. Precision, dropout and checkpointing are set as they are with us.
    """
    import trl
    from datasets import Dataset
    from transformers import AutoTokenizer, PrinterCallback, TrainerCallback

    lengths, seen = [], []

    def reward(completion_ids: list[list[int]], **_) -> list[float]:
        tokens = torch.zeros(len(completion_ids), WORLD.grammar.longest + 1, dtype=torch.long)
        tokens[:, : len(WORLD.tree.prompt)] = WORLD.tree.prompt
        for row, said in zip(tokens[:, len(WORLD.tree.prompt) :], completion_ids, strict=True):
            row[: len(said)] = torch.tensor(said)
        lengths.append(sum(len(said) for said in completion_ids))
        return WORLD.worth(tokens).tolist()

    class Clock(TrainerCallback):
        def on_step_end(self, *_, **__):
            seen.append((time.process_time(), sum(lengths)))

    settings = getattr(trl, f"{name}Config")(
        output_dir=str(folder / "out"), per_device_train_batch_size=SENTENCES, num_generations=SENTENCES,
        steps_per_generation=1, num_iterations=2, max_steps=2 * (before + iterations), beta=0.05,
        max_completion_length=WORLD.words, learning_rate=1e-3, use_cpu=True, bf16=False, gradient_checkpointing=False,
        report_to="none", logging_strategy="no", save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    data = Dataset.from_list([{"prompt": f"{WORLD.grammar.vocabulary[1]} {WORLD.prompt}"}] * SENTENCES)
    trainer = getattr(trl, f"{name}Trainer")(
        model=str(folder), reward_funcs=reward, args=settings, train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(folder), callbacks=[Clock()],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    (start, words_before), (end, words) = seen[2 * before - 1], seen[-1]
    return 100 * (end - start) / iterations, (words - words_before) / (end - start)


def beside_trl() -> Iterator[str]:
    """Lines of comparison, both sides measured in turns."""
    quiet = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"}
    os.environ.update(quiet)  # read when they are imported
    try:
        import transformers
        import trl
    except ImportError as missing:
        yield f"TRL is not measured ({missing}); pip install .[benchmark]"
        return
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    policy = fluent("medium")
    with tempfile.TemporaryDirectory() as name:
        as_gpt2(policy.config, policy.init([torch.Generator()]), Path(name))
        for peer, settings in PEERS.items():
            same = {**SAME_WORK, "updates": 2, "checkpoint_every": 2, **settings}
            single, stack = begun(**same), begun(**same, trials=SEEDS)
            turns = [(cost(single), cost(stack, 5), trl_cost(peer, Path(name))) for _ in range(REPEATS)]
            # Each side's cheapest turn.
            (one, tokens), (many, many_tokens), (theirs, their_tokens) = map(min, zip(*turns, strict=True))
            label = f"{peer}, TRL {trl.__version__}"
            yield f"{label:32}{theirs:8.2f} CPU-seconds a run, {their_tokens:8.0f} tokens a second"
            for label, seconds, rate in (("alone", one, tokens), (f"{SEEDS} seeds stacked", many / SEEDS, many_tokens)):
                ratio = rate / their_tokens
                verdict = "" if ratio >= WANTED else f", wanted {WANTED}"
                yield f"{f'{peer}, here, {label}':32}{seconds:8.2f}, {rate:8.0f}: {ratio:.1f} times{verdict}"


def main() -> None:
    torch.set_num_threads(1)
    print(f"one thread, torch {torch.__version__}; a run is 100 iterations of {SENTENCES} sentences")
    trainer = begun()
    seconds, tokens = min(cost(trainer) for _ in range(REPEATS))
    print(f"{'PPO, medium, 4 half updates':32}{seconds:8.2f} CPU-seconds a run, {tokens:8.0f} tokens a second")
    total = sum(trainer.seconds.values())
    for stage, spent in sorted(trainer.seconds.items(), key=lambda item: -item[1]):
        print(f"    {stage:28}{spent / total:8.1%}")
    for algorithm, limit in LIMITS.items():
        other = begun(algorithm=algorithm)
        turns = [(cost(trainer)[0], cost(other)[0]) for _ in range(REPEATS)]
        ours, theirs = map(min, zip(*turns, strict=True))
        verdict = "" if theirs <= limit * ours else f", wanted {limit}"
        print(f"{f'{algorithm}, beside PPO':32}{theirs:8.2f} CPU-seconds a run: {theirs / ours:.2f} times{verdict}")
    for size in WIDTHS:
        print(f"{f'exact evaluation, {size}':32}{evaluation(size):8.2f} CPU-seconds")
    for size in WIDTHS:
        stack = begun(size, trials=SEEDS)
        stacked = min(cost(stack, 5)[0] for _ in range(REPEATS)) / SEEDS
        jobs = (joblib.delayed(alone)(size, seed) for seed in range(SEEDS))
        apart = min(joblib.Parallel(n_jobs=min(SEEDS, os.cpu_count() or 1))(jobs))
        cheaper = "the stack" if stacked < apart else "processes"
        line = f"{stacked:8.2f} CPU-seconds a run, {apart:.2f} in processes of their own: {cheaper}"
        print(f"{f'{SEEDS} seeds stacked, {size}':32}{line}")
    for line in beside_trl():
        print(line, flush=True)


if __name__ == "__main__":
    main()
