"""When an optimum leaves the language: prices at which a text outside outweighs all sentences inside."""

import torch
from jaxtyping import Float, Int
from scipy.optimize import brentq
from torch import Tensor

from actde_nb.networks import gpt


def leaving_price(
    initial: Float[Tensor, "sentence"], reward: Float[Tensor, "sentence"], log_prob: float, worth: float
) -> float:
    """The beta below which the optimum prefers one text outside to all sentences together.

    The optimum gives the text ``exp(log_prob + worth / beta)`` and the sentences ``Z(beta)``, up to a common factor.
    In 1 / beta the difference of the logarithms is convex, so that they cross once. Other texts can only raise the
    price at which the language is left.

    Args:
        initial: log-probability of each sentence under the initial policy.
        reward: of each sentence.
        log_prob: of the text under the initial policy, less than that of all sentences together.
        worth: reward of the text, more than that of any sentence.
    """
    best, inside = reward.max().item(), initial.logsumexp(0).item()

    def ahead(inverse: float) -> float:
        return (initial + reward * inverse).logsumexp(0).item() - log_prob - worth * inverse

    return 1 / brentq(ahead, 0, (inside - log_prob) / (worth - best) + 1e-9)


def log_prob(
    params: gpt.Params, config: gpt.GPTConfig, tokens: Int[Tensor, "text time"], given: int
) -> Float[Tensor, "trial text"]:
    """Log-probability that networks give to texts, begin mark and padding included, after the ``given`` first tokens.

    Float64, whatever the texts are.
    """
    with torch.no_grad():
        trials = len(params["token_embedding"])
        read = tokens[:, :-1].expand(trials, -1, -1)
        said = gpt.forward(params, config, read).logits.double().log_softmax(-1)
    taken = said.gather(-1, tokens[:, 1:].expand(trials, -1, -1)[..., None])[..., 0]
    return (taken * (tokens[:, 1:] > 0))[..., given - 1 :].sum(-1)
