"""Where the data comes from; everything is at hand offline, except what the user asks to be fetched.

Stage: files → [sources] → data. Under a name there is that data set or an error, never another one.
"""

from __future__ import annotations

import gzip
import importlib.util
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from actium.errors import DataError
from actium.train.data import Data, split
from actium.train.extras import need

SPRITE = "fashion-mnist-sprite.png"
SPRITE_VARIABLE = "ACTIUM_FASHION_MNIST_SPRITE"
_TILE, _ROWS_A_CLASS, _CLASSES = 28, 3, 10
_SPRITE_TEST = 20  # of the 90 images of a class: 200 of 900
_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@dataclass(frozen=True)
class Sources:
    """Where the user's own data is.

    Attributes:
        data_dir: A folder with data files, such as the idx files of Fashion-MNIST.
        text: A text file for the language model.
        download: Whether torchvision may fetch what is not there.
    """

    data_dir: Path | None = None
    text: Path | None = None
    download: bool = False


# --- Small sets of scikit-learn ---------------------------------------------------------------------------


def digits(seed: int, _: Sources) -> Data:
    """1797 handwritten digits of 8 by 8 pixels; another fifth is held out for each seed."""
    found = need("sklearn.datasets", "the task digits").load_digits()
    x = torch.from_numpy(found.images).float()[:, None] / 16
    return Data(*split(x, torch.from_numpy(found.target).long(), seed), 10, "scikit-learn's digits")


def moons(seed: int, _: Sources) -> Data:
    """Two interleaved half circles with noise; other points for each seed."""
    make = need("sklearn.datasets", "the task moons").make_moons
    (x, y), (test_x, test_y) = (make(n_samples=1000, noise=0.15, random_state=2 * seed + k) for k in range(2))
    inputs, labels = ([torch.from_numpy(a) for a in pair] for pair in ((x, test_x), (y, test_y)))
    note = "scikit-learn's make_moons, noise 0.15"
    return Data(inputs[0].float(), labels[0].long(), inputs[1].float(), labels[1].long(), 2, note)


def image(seed: int, _: Sources) -> Data:
    """A photograph as a function of the position; every other pixel, chosen by the seed, is held out."""
    need("PIL", "the task image")
    photograph = need("sklearn.datasets", "the task image").load_sample_image("china.jpg")
    pixels = torch.from_numpy(np.array(photograph[3:424:7, 3:637:7])).float() / 255
    height, width, _channels = pixels.shape
    ys, xs = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    where, colours = torch.stack([xs, ys], dim=-1).reshape(-1, 2), pixels.reshape(-1, 3)
    order = torch.randperm(len(where), generator=torch.Generator().manual_seed(seed))
    train, test = order[::2], order[1::2]
    return Data(
        where[train], colours[train], where[test], colours[test], 0, "scikit-learn's china.jpg, every 7th pixel"
    )


# --- Fashion-MNIST ----------------------------------------------------------------------------------------


def fashion_mnist(seed: int, sources: Sources) -> Data:
    """Fashion-MNIST: the idx files, or torchvision's copy, or the sprite of 900 of its images.

    Raises:
        DataError: If none of them is there.
    """
    folder = sources.data_dir
    if folder is not None:
        if not folder.is_dir():
            raise DataError(f"--data-dir {folder}: there is no such folder")
        files = _idx_files([folder, folder / "FashionMNIST" / "raw", folder / "raw"])
        if files is not None:
            images = [_read_idx(path) for path in files]
            return _of_images(images[0], images[1], images[2], images[3], f"Fashion-MNIST, {len(images[0])} idx images")
        if (folder / SPRITE).is_file():
            return _of_sprite(folder / SPRITE, seed)
    if sources.download:
        return _downloaded(folder)
    variable = os.environ.get(SPRITE_VARIABLE)
    if variable:
        return _of_sprite(Path(variable), seed)
    looked = f"{folder} holds neither {_IDX[0]}[.gz] and its three siblings nor {SPRITE}" if folder else "no --data-dir"
    raise DataError(
        f"Fashion-MNIST is not here ({looked}): give --data-dir DIR with its idx files, or --download to fetch it with "
        f"torchvision, or set {SPRITE_VARIABLE} to the sprite of 900 images. No other data set stands in for it"
    )


def _idx_files(folders: Iterable[Path]) -> list[Path] | None:
    for folder in folders:
        found = [next((p for p in (folder / n, folder / f"{n}.gz") if p.is_file()), None) for n in _IDX]
        if all(found):
            return [path for path in found if path is not None]
    return None


def _read_idx(path: Path) -> Tensor:
    """An idx file of bytes: a magic number, the sizes, the numbers."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        zero, kind, dimensions = struct.unpack(">HBB", raw[:4])
        sizes = struct.unpack(f">{dimensions}I", raw[4 : 4 + 4 * dimensions])
    except (OSError, EOFError, struct.error) as error:
        raise DataError(f"{path} is no idx file: {error}") from error
    content = np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * dimensions)
    if zero != 0 or kind != 8 or content.size != int(np.prod(sizes)):
        raise DataError(f"{path} is no complete idx file of bytes: expected {sizes}, got {content.size} bytes")
    return torch.from_numpy(content.reshape(sizes).copy())


def _of_images(train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, note: str) -> Data:
    def scaled(x: Tensor) -> Tensor:
        return x.float()[:, None] / 255

    return Data(scaled(train_x), train_y.long(), scaled(test_x), test_y.long(), _CLASSES, note)


def _of_sprite(path: Path, seed: int) -> Data:
    """The 30 by 30 tiles of the sprite, three rows for each class in the order of the labels: 700 and 200 images."""
    try:
        with need("PIL.Image", "the sprite of Fashion-MNIST").open(path) as file:
            pixels = np.array(file.convert("L"))
    except (OSError, SyntaxError) as error:
        raise DataError(f"{path} cannot be read as an image: {error}") from error
    side = _TILE * _CLASSES * _ROWS_A_CLASS
    if pixels.shape != (side, side):
        raise DataError(f"{path} is {pixels.shape[1]} by {pixels.shape[0]} pixels: the sprite is {side} by {side}")
    tiles = pixels.reshape(side // _TILE, _TILE, side // _TILE, _TILE).swapaxes(1, 2)
    x = torch.from_numpy(tiles.reshape(-1, _TILE, _TILE).copy())
    y = torch.arange(len(x)) // (len(x) // _CLASSES)
    parts = split(x, y, seed, held_out=_SPRITE_TEST / 90)
    return _of_images(*parts, f"the Fashion-MNIST sprite, {len(parts[0])} of its images")


def _downloaded(folder: Path | None) -> Data:
    if importlib.util.find_spec("torchvision") is None:
        raise DataError("--download needs torchvision: pip install torchvision, or give --data-dir with the idx files")
    from torchvision.datasets import FashionMNIST  # type: ignore[import-not-found]

    root = folder or Path.home() / ".cache" / "actium"
    try:
        parts = [FashionMNIST(str(root), train=train, download=True) for train in (True, False)]
    except (OSError, RuntimeError) as error:
        raise DataError(f"torchvision could not fetch Fashion-MNIST: {error}") from error
    train, test = parts
    return _of_images(train.data, train.targets, test.data, test.targets, "Fashion-MNIST by torchvision")


# --- Text -------------------------------------------------------------------------------------------------

_WINDOW, _TRAIN_WINDOWS, _TEST_WINDOWS = 64, 1600, 200


def text(seed: int, sources: Sources) -> Data:
    """Windows of a text: what Python ships about itself, or the user's own file. The last tenth is held out.

    Raises:
        DataError: If the file cannot be read, or is too short.
    """
    content, note = _text_of(sources.text)
    alphabet = {c: k for k, c in enumerate(sorted(set(content)))}
    codes = torch.tensor([alphabet[c] for c in content])
    border = len(codes) * 9 // 10
    generator = torch.Generator().manual_seed(seed)
    train = _windows(codes[:border], _TRAIN_WINDOWS, generator)
    test = _windows(codes[border:], _TEST_WINDOWS, torch.Generator().manual_seed(0))
    return Data(*train, *test, len(alphabet), note)


def _text_of(path: Path | None) -> tuple[str, str]:
    if path is None:
        if importlib.util.find_spec("pydoc_data") is None:
            raise DataError("this Python comes without pydoc_data: give a text of your own with --text FILE")
        from pydoc_data import topics

        return "\n".join(topics.topics.values()), "Python's own help texts (pydoc_data.topics)"
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--text {path}: cannot be read as UTF-8 text: {error}") from error
    if len(content) < 20 * _WINDOW:
        raise DataError(f"--text {path}: {len(content)} characters; expected at least {20 * _WINDOW}")
    return content, f"{path.name}, {len(content)} characters"


def _windows(codes: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    starts = torch.randint(0, len(codes) - _WINDOW, (count,), generator=generator)
    rows = codes[starts[:, None] + torch.arange(_WINDOW + 1)]
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
