"""Write an activation once: it is fused, differentiable, and checked on every half-precision number."""

import torch

import actium


@actium.activation
def soft_clip(x, threshold=actium.learnable(1.0, positive=True)):
    return threshold * torch.tanh(x / threshold)


y = soft_clip(torch.randn(8, 16, dtype=torch.bfloat16))
layer = soft_clip.module(channels=16, channel_dim=1)
certificate = actium.check(soft_clip)
print(layer, y.dtype, certificate.verdict)
assert certificate.passed
