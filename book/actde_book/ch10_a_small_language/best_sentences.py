"""What the best policy at each KL coefficient says."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from actde_nb.exact import policy_on_tree
from actde_nb.pages.interactive import Interactive

LISTED = 8  # sentences at each coefficient
EVERY = 4  # which of the coefficients stand in the table


def best_sentences(
    initial: Float[Tensor, "sentence"], reward: Float[Tensor, "sentence"],
    betas: Sequence[float] | Float[np.ndarray, "beta"], text: Callable[[int], str],
) -> Interactive:  # fmt: skip
    """The optimum at each KL coefficient: likeliest sentences, mean reward, divergence, effective number of sentences.

    ``initial``: log-probabilities of the initial policy; ``text``: what a sentence is, by its number."""
    steps, listed = [], []
    for beta in map(float, betas):
        best, _ = policy_on_tree.optimum(initial, reward, beta)
        likeliest = best.argsort(descending=True)[:LISTED].tolist()
        listed += [k for k in likeliest if k not in listed]
        steps.append(
            {"beta": beta, **_numbers(best, initial, reward)}
            | {"likeliest": [listed.index(k) for k in likeliest], "chances": best[likeliest].exp().numpy()}
        )
    before = _numbers(initial, initial, reward)
    texts = [text(k) for k in listed]
    data = {"initial": before, "steps": steps, "sentences": texts, "before": initial[listed].exp().numpy()}
    first = int(initial.argmax())
    rows = [_row("initial policy", before, text(first), initial[first].exp().item())]
    for step in steps[::EVERY]:
        rows.append(_row(f"β = {step['beta']:.3g}", step, texts[step["likeliest"][0]], step["chances"][0]))
    return Interactive("prices", data, ("policy", "gold", "nats", "effective sentences", "likeliest sentence"), rows)


def _numbers(policy: Tensor, initial: Tensor, reward: Tensor) -> dict[str, float]:
    return {
        "reward": torch.dot(policy.exp(), reward).item(),
        "nats": policy_on_tree.divergence(policy, initial).item(),
        "sentences": policy_on_tree.entropy(policy).exp().item(),
    }


def _row(name: str, numbers: dict[str, float], sentence: str, chance: float) -> tuple[str, ...]:
    reward, nats, effective = (numbers[key] for key in ("reward", "nats", "sentences"))
    return name, f"{reward:.3f}", f"{nats:.2f}", f"{effective:,.0f}", f"{sentence} ({chance:.1%})"
