"""The GPT-2 shape in PyTorch: learned positions, pre-LN, tanh-GELU, biases, tied head.

Linear weights are [n_out, n_in], which is already the row order a GGUF file wants.
"""
import dataclasses
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

LN_EPS = 1e-5


@dataclasses.dataclass
class Config:
    n_vocab: int = 4096
    n_ctx: int = 512
    n_embd: int = 256
    n_layer: int = 8
    n_head: int = 8


SHAPES = {
    "target": Config(n_embd=256, n_layer=8, n_head=8),
    "draft": Config(n_embd=96, n_layer=3, n_head=3),
}


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.n_head = c.n_head
        self.attn_norm = nn.LayerNorm(c.n_embd, eps=LN_EPS)
        self.attn_qkv = nn.Linear(c.n_embd, 3 * c.n_embd)
        self.attn_output = nn.Linear(c.n_embd, c.n_embd)
        self.ffn_norm = nn.LayerNorm(c.n_embd, eps=LN_EPS)
        self.ffn_up = nn.Linear(c.n_embd, 4 * c.n_embd)
        self.ffn_down = nn.Linear(4 * c.n_embd, c.n_embd)

    def forward(self, x):
        n_seq, n_tok, n_embd = x.shape
        qkv = self.attn_qkv(self.attn_norm(x))
        q, k, v = qkv.view(n_seq, n_tok, 3, self.n_head, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_output(y.transpose(1, 2).reshape(n_seq, n_tok, n_embd))
        return x + self.ffn_down(F.gelu(self.ffn_up(self.ffn_norm(x)), approximate="tanh"))


class GPT2(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.config = c
        self.token_embd = nn.Embedding(c.n_vocab, c.n_embd)
        self.position_embd = nn.Embedding(c.n_ctx, c.n_embd)
        self.blk = nn.ModuleList(Block(c) for _ in range(c.n_layer))
        self.output_norm = nn.LayerNorm(c.n_embd, eps=LN_EPS)
        for name, p in self.named_parameters():
            if name.endswith("bias") or p.ndim == 1:
                continue
            std = 0.02
            if name == "position_embd.weight":
                std = 0.01
            elif "attn_output" in name or "ffn_down" in name:
                std = 0.02 / math.sqrt(2 * c.n_layer)
            nn.init.normal_(p, std=std)
        for name, p in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(p)

    def head(self, x):
        """Final norm and tied head, on the output of any layer. x [..., n_embd]."""
        return F.linear(self.output_norm(x), self.token_embd.weight)

    def hidden(self, tokens, exits=()):
        """Return {layer: hidden state after that many layers} for the exits and the last layer."""
        n_tok = tokens.shape[1]
        x = self.token_embd(tokens) + self.position_embd.weight[:n_tok]
        kept = {}
        for i, b in enumerate(self.blk, start=1):
            x = b(x)
            if i in exits or i == len(self.blk):
                kept[i] = x
        return kept

    def forward(self, tokens):
        return self.head(self.hidden(tokens)[len(self.blk)])

    def n_params(self):
        return sum(p.numel() for p in self.parameters())
