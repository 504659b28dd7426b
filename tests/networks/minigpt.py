"""minGPT written once more as a single nn.Module, with its own formulas, to hold the package's functions against."""

import math

import torch
from torch import nn


class NewGELU(nn.Module):
    """Hendrycks and Gimpel (2016), as minGPT writes it."""

    def forward(self, x):
        return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


class Norm(nn.Module):
    """Layer norm from its definition, epsilon 1e-5 inside the root."""

    def __init__(self, width):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x):
        mean = x.mean(-1, keepdim=True)
        variance = ((x - mean) ** 2).mean(-1, keepdim=True)
        return (x - mean) / torch.sqrt(variance + 1e-5) * self.weight + self.bias


class Attention(nn.Module):
    """Causal attention, one head after the other, one query after the other."""

    def __init__(self, width, heads):
        super().__init__()
        self.c_attn, self.c_proj, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x):
        time, width = x.shape[1:]
        part = width // self.heads
        q, k, v = self.c_attn(x).split(width, dim=2)
        out = torch.zeros_like(x)
        for head in range(self.heads):
            rows = slice(head * part, (head + 1) * part)
            for t in range(time):
                scores = (k[:, : t + 1, rows] * q[:, t : t + 1, rows]).sum(-1) / math.sqrt(part)
                weights = torch.exp(scores - scores.logsumexp(-1, keepdim=True))
                out[:, t, rows] = (weights[..., None] * v[:, : t + 1, rows]).sum(1)
        return self.c_proj(out)


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.ln_1, self.ln_2, self.attn = Norm(width), Norm(width), Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), NewGELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class MiniGPT(nn.Module):
    """One network, ``tokens [batch, time] -> logits, values, q``."""

    def __init__(self, config):
        super().__init__()
        self.wte, self.wpe = (
            nn.Embedding(config.vocabulary, config.width),
            nn.Embedding(config.block_size, config.width),
        )
        self.h = nn.ModuleList([Block(config.width, config.heads) for _ in range(config.layers)])
        self.ln_f = Norm(config.width)
        self.lm_head = nn.Linear(config.width, config.vocabulary, bias=False)
        self.v_head, self.q_head = nn.Linear(config.width, 1), nn.Linear(config.width, config.vocabulary)

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        for block in self.h:
            x = block(x)
        x = self.ln_f(x)
        return self.lm_head(x), self.v_head(x)[..., 0], self.q_head(x)

    @torch.no_grad()
    def copy_from(self, params, trial):
        """Take one trial's parameters from the package's stack."""
        names = {"wte": "token_embedding", "wpe": "position_embedding"}
        for module, name in names.items():
            getattr(self, module).weight.copy_(params[name][trial])
        for module, name in {"ln_f": "norm", "lm_head": "policy", "v_head": "value", "q_head": "q"}.items():
            for kind, value in getattr(self, module).named_parameters():
                value.copy_(params[f"{name}.{kind}"][trial])
        inside = {
            "ln_1": "norm1", "ln_2": "norm2", "attn.c_attn": "attention", "attn.c_proj": "attention_out",
            "mlp.0": "mlp", "mlp.2": "mlp_out",
        }  # fmt: skip
        for layer, block in enumerate(self.h):
            for module, name in inside.items():
                for kind, value in block.get_submodule(module).named_parameters():
                    value.copy_(params[f"blocks.{name}.{kind}"][trial, layer])
        return self
