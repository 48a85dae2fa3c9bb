"""Data is what its name says, or an error; nothing is learned from what is broken."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from actium.errors import DataError, ExtraError
from actium.train import sources
from actium.train.data import Data, split
from actium.train.extras import need
from actium.train.sources import SPRITE, SPRITE_VARIABLE, Sources
from actium.train.tasks import task_of

SIDE = 840


def parts(rows: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.linspace(0, 1, rows)[:, None], torch.arange(rows) % 2


def test_an_empty_batch_is_refused():
    x, y = parts()
    with pytest.raises(DataError, match="held-out data is empty"):
        Data(x, y, x[:0], y[:0], 2)


def test_nan_in_a_batch_is_refused_with_its_row():
    x, y = parts()
    bad = x.clone()
    bad[2] = torch.nan
    with pytest.raises(DataError, match=r"training data, input row 2 is not finite \(1 of 4 rows\)"):
        Data(bad, y, x, y, 2)


def test_targets_and_lengths_are_checked():
    x, y = parts()
    with pytest.raises(DataError, match="4 inputs and 3 targets"):
        Data(x, y[:3], x, y, 2)
    with pytest.raises(DataError, match="expected 0…0"):
        Data(x, y, x, y, 1)


def test_a_split_holds_out_the_same_share_of_each_class_and_depends_on_the_seed_alone():
    x, y = torch.arange(100.0)[:, None], torch.arange(100) % 4
    first, again, other = split(x, y, 3), split(x, y, 3), split(x, y, 4)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[2], other[2])
    assert first[3].bincount().tolist() == [5, 5, 5, 5]
    assert sorted(torch.cat([first[0], first[2]]).flatten().tolist()) == x.flatten().tolist()


@pytest.mark.parametrize("name", ["digits", "moons", "image", "charlm"])
def test_the_tasks_have_data_offline_and_it_depends_on_the_seed(name: str):
    task, _ = task_of(name)
    first, again, other = (task.load(seed, Sources()) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert len(first.test_x) >= 200


def test_what_is_held_out_of_the_digits_is_not_trained_on():
    data = sources.digits(0, Sources())
    train = {tuple(row.flatten().tolist()) for row in data.train_x}
    held_out = [tuple(row.flatten().tolist()) for row in data.test_x]
    assert len(train) + len(held_out) == 1797
    assert not train & set(held_out)


def test_an_unknown_task_or_network_names_those_there_are():
    with pytest.raises(DataError, match="no task 'mnist'; there are: digits, moons"):
        task_of("mnist")
    with pytest.raises(DataError, match="has no network 'cnn'; it has: mlp"):
        task_of("moons", "cnn")


def test_a_missing_extra_says_what_to_install():
    with pytest.raises(ExtraError, match=r"the task x needs nowhere: pip install 'actium\[train\]'"):
        need("nowhere.datasets", "the task x")


# --- Fashion-MNIST ----------------------------------------------------------------------------------------


def idx(path: Path, content: np.ndarray, compress: bool) -> None:
    head = struct.pack(f">HBB{content.ndim}I", 0, 8, content.ndim, *content.shape)
    raw = head + content.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(raw) if compress else raw)


def write_idx(folder: Path, compress: bool = False) -> None:
    draw = np.random.default_rng(0)
    for name, count in (("train", 12), ("t10k", 7)):
        end = ".gz" if compress else ""
        idx(folder / f"{name}-images-idx3-ubyte{end}", draw.integers(0, 256, (count, 28, 28)), compress)
        idx(folder / f"{name}-labels-idx1-ubyte{end}", np.arange(count) % 10, compress)


@pytest.mark.parametrize("compress", [False, True])
def test_idx_files_are_read_packed_or_not(compress: bool, tmp_path: Path):
    write_idx(tmp_path, compress)
    data = sources.fashion_mnist(0, Sources(data_dir=tmp_path))
    assert data.train_x.shape == (12, 1, 28, 28)
    assert data.test_y.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert float(data.train_x.max()) <= 1


def test_a_cut_idx_file_is_an_error(tmp_path: Path):
    write_idx(tmp_path)
    file = tmp_path / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(DataError, match="no complete idx file"):
        sources.fashion_mnist(0, Sources(data_dir=tmp_path))


def sprite(folder: Path, side: int = SIDE) -> Path:
    """A picture in which every tile is of one grey, its class's."""
    image = pytest.importorskip("PIL.Image")
    tiles = np.repeat(np.repeat(np.arange(900).reshape(30, 30) // 90, 28, axis=0), 28, axis=1)
    image.fromarray((tiles * 20).astype(np.uint8)[:side, :side]).save(folder / SPRITE)
    return folder / SPRITE


def test_the_sprite_gives_700_and_200_images_with_their_labels(tmp_path: Path):
    sprite(tmp_path)
    data = sources.fashion_mnist(0, Sources(data_dir=tmp_path))
    assert (len(data.train_x), len(data.test_x)) == (700, 200)
    assert data.test_y.bincount().tolist() == [20] * 10
    assert torch.equal((data.train_x[:, 0, 5, 5] * 255 / 20).round().long(), data.train_y)


def test_the_sprite_is_found_by_its_variable_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(SPRITE_VARIABLE, str(sprite(tmp_path, side=812)))
    with pytest.raises(DataError, match="812 by 812 pixels: the sprite is 840 by 840"):
        sources.fashion_mnist(0, Sources())


def test_without_its_files_there_is_no_fashion_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(SPRITE_VARIABLE, raising=False)
    with pytest.raises(DataError, match="No other data set stands in for it"):
        sources.fashion_mnist(0, Sources())
    with pytest.raises(DataError, match="holds neither train-images-idx3-ubyte"):
        sources.fashion_mnist(0, Sources(data_dir=tmp_path))


def test_a_text_of_ones_own(tmp_path: Path):
    file = tmp_path / "own.txt"
    file.write_text("abc " * 1000, "utf-8")
    assert sources.text(0, Sources(text=file)).classes == 4
    file.write_text("short", "utf-8")
    with pytest.raises(DataError, match="5 characters; expected at least"):
        sources.text(0, Sources(text=file))
