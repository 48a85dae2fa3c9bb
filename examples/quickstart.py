"""The example of README.md: written once, fused, differentiable, and checked on every half-precision number."""

import torch

import actium


@actium.activation
def soft_clip(x, threshold=actium.learnable(1.0, positive=True)):
    return threshold * torch.tanh(x / threshold)


tanh_exp = actium.formula("x * tanh(exp(x))")

x = torch.randn(8, 64, 7, 7, dtype=torch.bfloat16, requires_grad=True)
tanh_exp(x).sum().backward()  # one fused kernel each way, keeps x and nothing else
layer = soft_clip.module(channels=64, channel_dim=1)  # nn.Module: a learnable threshold per channel
print(layer(x).dtype, tanh_exp.derivative())
certificate = actium.check(tanh_exp)  # every half, against ball arithmetic
assert certificate.passed, certificate
