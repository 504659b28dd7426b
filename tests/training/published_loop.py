"""The published way to train, written out plainly: one trial, no cache, loops over time.

It is the oracle of the fast loop and what the benchmark compares with. Nothing of the package's own
networks, advantages, losses or loop is used; structure and settings follow the published trainer.
"""

import math

import torch
from torch import nn
from torch.nn.functional import log_softmax


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, size: int):
        super().__init__()
        self.attention, self.attention_out, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads
        self.register_buffer("past", torch.tril(torch.ones(size, size)), persistent=False)

    def forward(self, x):
        batch, time, width = x.shape
        parts = self.attention(x).split(width, dim=2)
        q, k, v = (part.view(batch, time, self.heads, -1).transpose(1, 2) for part in parts)
        scores = q @ k.transpose(-2, -1) / math.sqrt(k.shape[-1])
        scores = scores.masked_fill(self.past[:time, :time] == 0, float("-inf"))
        y = scores.softmax(-1) @ v
        return self.attention_out(y.transpose(1, 2).contiguous().view(batch, time, width))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, size: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend = Attention(width, heads, size)
        self.mlp, self.mlp_out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        x = x + self.attend(self.norm1(x))
        h = self.mlp(self.norm2(x))
        h = 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
        return x + self.mlp_out(h)


class Player(nn.Module):
    """The network of one trial."""

    def __init__(self, layers: int = 3, heads: int = 3, width: int = 12, size: int = 128):
        super().__init__()
        self.token_embedding, self.position_embedding = nn.Embedding(2, width), nn.Embedding(size, width)
        self.blocks = nn.ModuleList(Block(width, heads, size) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.policy, self.value, self.q = nn.Linear(width, 2, bias=False), nn.Linear(width, 1), nn.Linear(width, 2)

    def forward(self, tokens):
        x = self.token_embedding(tokens) + self.position_embedding(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.policy(x), self.value(x)[..., 0], self.q(x)

    def stacked(self) -> dict[str, torch.Tensor]:
        """Parameters under the package's names, for comparing: blocks on an axis of their own."""
        own = {name.replace("attend.", ""): value for name, value in self.named_parameters()}
        out = {}
        for name, value in own.items():
            if name.startswith("blocks.0."):
                short = name.removeprefix("blocks.0.")
                out[f"blocks.{short}"] = torch.stack([own[f"blocks.{i}.{short}"] for i in range(len(self.blocks))])
            elif not name.startswith("blocks."):
                out[name.replace("embedding.weight", "embedding")] = value
        return out

    @torch.no_grad()
    def load_stacked(self, parameters: dict[str, torch.Tensor]) -> "Player":
        for name, value in self.named_parameters():
            name = name.replace("attend.", "").replace("embedding.weight", "embedding")
            if name.startswith("blocks."):
                _, layer, short = name.split(".", 2)
                value.copy_(parameters[f"blocks.{short}"][int(layer)])
            else:
                value.copy_(parameters[name])
        return self


class PublishedLoop:
    """PPO or ACTDE on the prisoner's dilemma, as published, without dropout."""

    def __init__(self, player: Player, payoffs, algorithm: str = "actde", optimiser: str = "adamw"):
        self.player, self.algorithm = player, algorithm
        self.payoffs = torch.tensor(payoffs, dtype=torch.float32)
        decayed = [m.weight for m in player.modules() if isinstance(m, nn.Linear)]
        others = [p for p in player.parameters() if not any(p is d for d in decayed)]
        groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = (
            torch.optim.AdamW(groups, lr=5e-4, betas=(0.9, 0.95))
            if optimiser == "adamw"
            else torch.optim.SGD(groups, lr=5e-4)  # not published: for comparing gradients
        )

    @torch.no_grad()
    def play(self, first, uniforms):
        """Sample moves, reading the whole history anew for each."""
        tokens, log_probs, values, qs = first[:, None], [], [], []
        for t in range(uniforms.shape[1] + 1):
            logits, value, q = (said[:, -1] for said in self.player(tokens))
            values.append(value)
            if t == uniforms.shape[1]:
                break
            move = (uniforms[:, t] >= logits.softmax(-1)[:, 0]).long()[:, None]
            log_probs.append(log_softmax(logits, -1).gather(1, move)[:, 0])
            qs.append(q.gather(1, move)[:, 0])
            tokens = torch.cat([tokens, move], 1)
        return tokens, torch.stack(log_probs, 1), torch.stack(values, 1), torch.stack(qs, 1)

    def rollout(self, first, uniforms, updates: int = 4, discount: float = 0.5, gae_lambda: float = 0.95):
        """Play and learn; returns the moves."""
        tokens, old_log_probs, old_values, old_q = self.play(first, uniforms)
        rewards = self.payoffs[tokens[:, 1:], tokens[:, :-1]]
        games = rewards.shape[1]
        advantages, returns = torch.zeros_like(rewards), torch.zeros_like(rewards)
        ordinary = conditioned = torch.zeros(len(tokens))
        for t in reversed(range(games)):
            target = rewards[:, t] + discount * old_values[:, t + 1]
            ordinary = target - old_values[:, t] + discount * gae_lambda * ordinary
            conditioned = target - old_q[:, t] + discount * gae_lambda * conditioned
            returns[:, t] = ordinary + old_values[:, t]
            advantages[:, t] = conditioned if self.algorithm == "actde" else ordinary
        old_values = old_values[:, :-1]
        for _ in range(updates):
            logits, values, q = self.player(tokens)
            taken = tokens[:, 1:, None]
            log_probs = log_softmax(logits[:, :-1], -1).gather(2, taken)[..., 0]
            ratio = (log_probs - old_log_probs).exp()
            loss = torch.max(-advantages * ratio, -advantages * ratio.clamp(0.8, 1.2)).mean()
            values = values[:, :-1]
            held = torch.max(torch.min(values, old_values + 0.2), old_values - 0.2)
            loss = loss + 0.1 * 0.5 * torch.max((values - returns) ** 2, (held - returns) ** 2).mean()
            if self.algorithm == "actde":
                loss = loss + ((q[:, :-1].gather(2, taken)[..., 0] - returns) ** 2).mean()
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.player.parameters(), 1.0)
            self.optimiser.step()
        return tokens
