"""When an optimum leaves the language: KL coefficients at which a text outside outweighs all sentences inside."""

import torch
from jaxtyping import Float, Int
from scipy.optimize import brentq
from torch import Tensor

from actde_nb.networks import gpt


def leaving_price(
    initial: Float[Tensor, "sentence"], reward: Float[Tensor, "sentence"], log_prob: float, worth: float
) -> float:
    """The beta below which the optimum prefers one text outside to all sentences together.

    The optimum gives the text ``exp(log_prob + worth / beta)`` and the sentences ``Z(beta)``, up to a common factor. In
    1 / beta the difference of the logarithms is convex, so that they cross once if the text is worth more than every
    sentence. Other texts can only raise that coefficient."""
    best, inside = reward.max().item(), initial.logsumexp(0).item()

    def ahead(inverse: float) -> float:
        return (initial + reward * inverse).logsumexp(0).item() - log_prob - worth * inverse

    return 1 / brentq(ahead, 0, (inside - log_prob) / (worth - best) + 1e-9)


def log_prob(
    params: gpt.Params, config: gpt.GPTConfig, tokens: Int[Tensor, "text time"], given: int
) -> Float[Tensor, "trial text"]:
    """Log-probability of any texts after the first ``given`` tokens, begin mark and prompt; float64."""
    with torch.no_grad():
        trials = len(params["token_embedding"])
        read = tokens[:, :-1].expand(trials, -1, -1)
        said = gpt.forward(params, config, read).logits.double().log_softmax(-1)
    taken = said.gather(-1, tokens[:, 1:].expand(trials, -1, -1)[..., None])[..., 0]
    return (taken * (tokens[:, 1:] > 0))[..., given - 1 :].sum(-1)
