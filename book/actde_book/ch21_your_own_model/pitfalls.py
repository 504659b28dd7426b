"""What the page's three pitfalls are measured with: completions drawn in several ways, and gradients one by one."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from actde_nb.finetune.models import LanguageModel
from actde_nb.finetune.sampling import learner, pad_left, positions

Steps = Float[Tensor, "batch steps"]
Gradients = Float[Tensor, "batch parameter"]
Lengths = Int[Tensor, "batch"]


@dataclass(frozen=True)
class Drawn:
    """Prompts, padded on the left, and what was drawn after them."""

    tokens: Int[Tensor, "batch places"]
    seen: Bool[Tensor, "batch places"]  # which of them are no padding
    mask: Bool[Tensor, "batch steps"]  # which of the words drawn count: up to the end, and that too
    log_probs: Steps  # in nats, under the distribution that was drawn from

    @property
    def padding(self) -> Int[Tensor, "batch"]:
        """How many places stand before each prompt."""
        return (~self.seen[:, : -self.mask.shape[1]]).sum(-1)


@torch.no_grad()
def draw(
    model: LanguageModel, texts: Sequence[str], draws: Steps, temperature: float = 1.0, kept: int | None = None,
    ending: bool = True,
) -> Drawn:  # fmt: skip
    """Continue each text by one word for each number in ``draws`` (in [0, 1)): from logits over ``temperature``, of
    which the ``kept`` largest alone, or all; or, unless ``ending``, from all but those of words that end a text."""
    tokens, seen = pad_left([model.encode(text) for text in texts], model.padding)
    running, said, ends = torch.ones(len(texts), dtype=torch.bool), [], torch.tensor(model.ends)
    for step in range(draws.shape[1]):
        logits = model.read(tokens, seen, positions(seen), 1).logits[:, 0].double() / temperature
        if not ending:
            logits[:, ends] = -torch.inf
        if kept is not None:
            least = logits.topk(kept).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        policy = logits.softmax(-1)
        word = (draws[:, step, None] >= policy.cumsum(-1)[:, :-1]).sum(-1, keepdim=True)
        said.append((running[:, None], policy.gather(-1, word).log()))
        tokens = torch.cat([tokens, torch.where(running[:, None], word, model.padding)], 1)
        seen = torch.cat([seen, running[:, None]], 1)
        running = running & ~torch.isin(word[:, 0], ends)
    mask, log_probs = (torch.cat(parts, 1) for parts in zip(*said, strict=True))
    return Drawn(tokens, seen, mask, torch.where(mask, log_probs, 0.0))


@torch.no_grad()
def learned(model: LanguageModel, drawn: Drawn, reference: bool = False) -> Steps:
    """Log-probabilities of the words drawn under the whole softmax, as the learner has them, in nats; 0 where none."""
    steps = drawn.mask.shape[1]
    logits = learner(model, drawn.tokens, drawn.seen, steps, reference).logits.double()
    taken = logits.log_softmax(-1).gather(-1, drawn.tokens[:, -steps:, None])[..., 0]
    return torch.where(drawn.mask, taken, 0.0)


def by_padding(log_ratio: Steps, drawn: Drawn) -> dict[int, float]:
    """Mean size of the log-ratios a word, by how many places of padding stand before the prompt."""
    rows = {int(count): drawn.padding == count for count in drawn.padding.unique()}
    return {count: log_ratio[row][drawn.mask[row]].abs().mean().item() for count, row in rows.items()}


def gradients(model: LanguageModel, drawn: Drawn, advantages: Float[Tensor, "batch"], lengths: Lengths) -> Gradients:
    """Of each sequence's loss, the *sum* of -A log pi over its first ``lengths`` words, in all that learns."""
    steps, found = drawn.mask.shape[1], []
    for row, (advantage, length) in enumerate(zip(advantages, lengths, strict=True)):
        tokens, seen = drawn.tokens[row, None], drawn.seen[row, None]  # alone, so that nothing else is gone through
        logits = learner(model, tokens, seen, steps).logits[0, :length]
        taken = logits.log_softmax(-1).gather(-1, tokens[0, -steps:, None][:length])
        parts = torch.autograd.grad(-advantage * taken.sum(), list(model.learned.values()))
        found.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(found)
