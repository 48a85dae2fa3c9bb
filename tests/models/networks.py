"""Networks in the style of well-known ones, with activations as modules, functions and methods."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class BasicConv(nn.Module):
    """GoogLeNet's: no activation module at all."""

    def __init__(self, a, b, k, act=None):
        super().__init__()
        self.conv, self.bn, self.act = nn.Conv2d(a, b, k, padding=k // 2, bias=False), nn.BatchNorm2d(b), act

    def forward(self, x):
        x = self.bn(self.conv(x))
        return F.relu(x, inplace=True) if self.act is None else self.act(x)


class GoogLeNetLike(nn.Module):
    """Branches that are concatenated; with `act`, as somebody would write it by hand."""

    def __init__(self, act=None):
        super().__init__()
        self.act = act
        self.stem = BasicConv(3, 8, 3, act)
        self.branches = nn.ModuleList(BasicConv(8, 4, k, act) for k in (1, 3, 5))
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        act = self.act or torch.relu
        x = self.stem(x)
        x = torch.cat([b(x) for b in self.branches], 1).mean((2, 3))
        return self.head(act(x) if self.act else x.relu())


class Block(nn.Module):
    def __init__(self, c, act):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c, c, 3, padding=1), nn.BatchNorm2d(c)
        self.conv2, self.bn2 = nn.Conv2d(c, c, 3, padding=1), nn.BatchNorm2d(c)
        self.relu = act

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + x)


class ResNetLike(nn.Module):
    """One activation module per block, used twice, as in torchvision."""

    def __init__(self, make=lambda: nn.ReLU(inplace=True), blocks=4, width=8):
        super().__init__()
        self.stem, self.relu = nn.Conv2d(3, width, 3, padding=1), make()
        self.blocks = nn.Sequential(*(Block(width, make()) for _ in range(blocks)))
        self.fc = nn.Linear(width, 10)

    def forward(self, x):
        return self.fc(self.blocks(self.relu(self.stem(x))).mean((2, 3)))


class Layer(nn.Module):
    def __init__(self, d, act):
        super().__init__()
        self.ln1, self.attn, self.ln2 = nn.LayerNorm(d), nn.MultiheadAttention(d, 4, batch_first=True), nn.LayerNorm(d)
        self.up, self.down, self.act = nn.Linear(d, 4 * d), nn.Linear(4 * d, d), act

    def forward(self, x):
        y = self.ln1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        y = self.up(self.ln2(x))
        return x + self.down(F.gelu(y, approximate="tanh") if self.act is None else self.act(y))


class GPTLike(nn.Module):
    """GELU as a function; with `act`, as somebody would write it by hand."""

    def __init__(self, act=None, layers=3, d=32):
        super().__init__()
        self.embed, self.layers = nn.Embedding(50, d), nn.Sequential(*(Layer(d, act) for _ in range(layers)))
        self.head = nn.Linear(d, 50)

    def forward(self, tokens):
        return self.head(self.layers(self.embed(tokens)))
