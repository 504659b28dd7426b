"""When an optimum leaves the language: prices at which a text outside outweighs all sentences inside."""

import torch
from jaxtyping import Float, Int
from scipy.optimize import brentq
from torch import Tensor

from actde_nb import checks
from actde_nb.checks import SettingError
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
        log_prob: of the text under the initial policy.
        worth: reward of the text.
    """
    checks.finite("log_prob", log_prob)
    best = reward.max().item()
    if not worth > best:
        raise SettingError(f"worth = {worth}: allowed are rewards above that of every sentence, {best}")
    inside = initial.logsumexp(0).item()
    if not log_prob < inside:
        raise SettingError(f"log_prob = {log_prob}: allowed are numbers below {inside}, that of the sentences")

    def ahead(inverse: float) -> float:
        return (initial + reward * inverse).logsumexp(0).item() - log_prob - worth * inverse

    return 1 / brentq(ahead, 0, (inside - log_prob) / (worth - best) + 1e-9)


def log_prob(
    params: gpt.Params, config: gpt.GPTConfig, tokens: Int[Tensor, "text time"], given: int
) -> Float[Tensor, "trial text"]:
    """Log-probability that networks give to texts, whatever they are; float64.

    Args:
        params: from :func:`actde_nb.networks.gpt.init`.
        config: what they were made with.
        tokens: begin mark, prompt and text, padding at the end.
        given: number of tokens, of the begin mark and the prompt, that are not counted.
    """
    with torch.no_grad():
        trials = len(params["token_embedding"])
        read = tokens[:, :-1].expand(trials, -1, -1)
        said = gpt.forward(params, config, read).logits.double().log_softmax(-1)
    taken = said.gather(-1, tokens[:, 1:].expand(trials, -1, -1)[..., None])[..., 0]
    return (taken * (tokens[:, 1:] > 0))[..., given - 1 :].sum(-1)
