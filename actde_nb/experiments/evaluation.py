"""What is known of the policies of a language run, on the way and at the end."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from actde_nb.exact import policy_on_tree
from actde_nb.exact.critics import critics_of, final_measures
from actde_nb.exact.policy_on_tree import TreePolicy
from actde_nb.networks.policies import Params, Policy
from actde_nb.training.trainer import Trainer, generator
from actde_nb.worlds.language import Language
from actde_nb.worlds.rewards import Reward

LIKELIEST = 5  # sentences that are kept of each policy
WORDS = 300  # words of which the log-ratio and the advantage are kept


class Evaluation:
    """What is known of the policies of a run: exactly over all sentences, and from samples where they leave them.

    ``initial`` is the policy before training, with parameters ``start``, on the sentences of the tree, a stack of
    one; ``known`` has each reward of all sentences, float64. A nat costs ``price`` by design, in units of reward
    (None: it is free); a policy tied to q has a ``temperature`` above zero; a ``masked`` one says only words that
    the grammar allows."""

    def __init__(
        self, world: Language, policy: Policy, start: Params, price: float | None, temperature: float, masked: bool,
        has_q: bool,
    ):  # fmt: skip
        self.start, self.price, self.masked, self.has_q = start, price, masked, has_q
        self.unit = price or temperature or None  # of rewards, for an optimum to compare with
        self.rewards: dict[str, Reward] = {
            "reward": world.worth,
            "gold": world.scorer.reward("gold"),
            "honeypot": lambda tokens: (world.scorer.features(tokens).honeypots > 0).double(),
        }
        self.known = {name: reward(world.tree.sentences) for name, reward in self.rewards.items()}
        self.initial: TreePolicy = policy_on_tree.of_policy(world.tree, world.grammar, policy, start, masked)

    def spoken(self, work: Trainer) -> TreePolicy:
        """The present policies on the sentences of the tree."""
        return policy_on_tree.of_policy(work.world.tree, work.world.grammar, work.policy, work.parameters, self.masked)

    def __call__(self, work: Trainer) -> dict[str, Float[Tensor, "trial"]]:
        """``exact_...`` over all sentences, and ``sampled_...`` from as many sentences as a rollout has."""
        config = work.config
        found = policy_on_tree.exact(self.spoken(work), self.initial, self.known, "reward", self.price)
        draws = [generator(config.seed, trial, "evaluation") for trial in work.trials]
        uniforms = [torch.rand(config.batch, config.steps, generator=draw) for draw in draws]
        uniforms = torch.stack(uniforms).to(config.device)
        with torch.no_grad():
            tokens = work.policy.sample(work.parameters, work.world.start(uniforms[..., 0]), uniforms).tokens
            start = {name: value.expand_as(work.parameters[name]) for name, value in self.start.items()}
            both = (work.policy.forward(params, tokens[..., :-1]) for params in (work.parameters, start))
            said, before = (outputs.logits[:, :, -config.steps :] for outputs in both)
        guessed = policy_on_tree.sampled(work.world.grammar, tokens, said, before, self.rewards)
        return {f"exact_{n}": v for n, v in found.items()} | {f"sampled_{n}": v for n, v in guessed.items()}

    def last_words(self, work: Trainer) -> Mapping[str, tuple[tuple[str, ...], Any]]:
        """The likeliest sentences of the policies, and words drawn from them with what APA says of these.

        Arrays by name, with their dimensions. The last three are there only with a price: ``word_log_ratio`` to the
        initial policy, ``word_advantage``, the policy's own exact one, and ``word_log_z``, of words that the policy
        says."""
        tree, grammar = work.world.tree, work.world.grammar
        said = work.policy.over_tree(work.parameters, tree)
        policy = policy_on_tree.of_outputs(tree, grammar, said, self.masked)
        chances, which = policy.sentences.exp().topk(LIKELIEST, dim=-1)
        sentences = [[grammar.decode(tree.sentences[i]) for i in row] for row in which.tolist()]
        found = {
            "likeliest_sentence": (("trial", "rank"), sentences),
            "likeliest_probability": (("trial", "rank"), chances.numpy()),
            "trial_leak": (("trial",), policy.leak.numpy()),
        }
        critics = critics_of(tree, said) if self.has_q else None
        ending = final_measures(policy, self.initial, self.known["reward"], critics, self.unit)
        found["ending"] = (("trial", "ending_quantity"), torch.stack(list(ending.values()), -1).numpy())
        found["ending_quantity"] = (("ending_quantity",), list(ending))
        if self.price is None:
            return found
        advantages = policy.advantages(self.known["reward"])
        normaliser = torch.zeros_like(policy.edges)
        normaliser[:, tree.inner] = policy_on_tree.log_z(self.initial, advantages, self.price)
        visits, words = policy.beginnings[:, 1:].exp(), []
        for trial, row in zip(work.trials, visits, strict=True):
            words.append(torch.multinomial(row, WORDS, True, generator=generator(0, trial, "evaluation")) + 1)
        words = torch.stack(words)
        ratio, log_z = policy.edges - self.initial.edges, normaliser[:, tree.parent]
        drawn = {"word_log_ratio": ratio, "word_advantage": advantages, "word_log_z": log_z}
        return found | {name: (("trial", "word"), value.gather(1, words).numpy()) for name, value in drawn.items()}
