"""Training data with a held-out part, checked before anything is learned from it.

Stage: sources → [data] → loop. In: tensors. Out: the same, with a fingerprint that is equal on every machine.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from actium.errors import DataError


@dataclass(frozen=True)
class Data:
    """What a network learns from, and what it is judged on.

    Attributes:
        train_x: Inputs, one row for each example: floating point, or integers for tokens.
        train_y: Targets: class numbers (N,), numbers (N, C), or the next tokens (N, T).
        test_x: Held-out inputs.
        test_y: Held-out targets.
        classes: How many classes or tokens; 0 for numbers.
        note: Where it comes from.

    Raises:
        DataError: If a part is empty, the lengths differ, or a number is not finite.
    """

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    classes: int
    note: str = ""

    def __post_init__(self) -> None:
        for part, x, y in (("training", self.train_x, self.train_y), ("held-out", self.test_x, self.test_y)):
            if not x.numel():
                raise DataError(f"the {part} data is empty (shape {tuple(x.shape)}): there is nothing to learn from")
            if len(x) != len(y):
                raise DataError(f"the {part} data has {len(x)} inputs and {len(y)} targets: expected as many of each")
            for what, tensor in (("input", x), ("target", y)):
                _check_finite(tensor, f"the {part} data, {what}")
            if self.classes and not (0 <= int(y.min()) and int(y.max()) < self.classes):
                raise DataError(f"the {part} targets are {int(y.min())}…{int(y.max())}: expected 0…{self.classes - 1}")

    @property
    def fingerprint(self) -> str:
        """A hash of the content, the same on every machine."""
        digest = hashlib.sha256(str(self.classes).encode())
        for tensor in (self.train_x, self.train_y, self.test_x, self.test_y):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


def _check_finite(tensor: Tensor, what: str) -> None:
    if not tensor.is_floating_point():
        return
    bad = ~torch.isfinite(tensor).reshape(len(tensor), -1).all(dim=1)
    if bad.any():
        rows = bad.nonzero().flatten().tolist()
        raise DataError(
            f"{what} row {rows[0]} is not finite ({len(rows)} of {len(tensor)} rows): "
            "remove or repair such rows; a network would learn NaN from them"
        )


def split(x: Tensor, y: Tensor, seed: int, held_out: float = 0.2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A random split that depends on the seed alone; of classes, the same share of each is held out.

    Args:
        x: Inputs, one row for each example.
        y: Class numbers.
        seed: Of the split.
        held_out: The share of each class that is not trained on.

    Returns:
        Training inputs and targets, held-out inputs and targets.
    """
    generator = torch.Generator().manual_seed(seed)
    train, test = [], []
    for label in y.unique():
        rows = (y == label).nonzero().flatten()
        rows = rows[torch.randperm(len(rows), generator=generator)]
        count = round(held_out * len(rows))
        test.append(rows[:count])
        train.append(rows[count:])
    train_rows, test_rows = torch.cat(train), torch.cat(test)
    return x[train_rows], y[train_rows], x[test_rows], y[test_rows]
