"""ImageNet as image-net.org offers it resized: `imagenet_npz:PATH`.

The folder holds what is in the archives `Imagenet32_train_npz.zip` and
`Imagenet32_val_npz.zip` (8, 16, 32 or 64): `train_data_batch_1.npz` to `_10.npz` and
`val_data.npz`, each with `data`, uint8 `[N, 3 S S]` with channels first, and `labels`
from 1 to 1000. TFDS makes its set `imagenet_resized` of the same files.

These are not the images of `downsampled_imagenet`, of which papers report bits/dim:
another filter made them smaller, and figures of the two differ.

References:
    Chrabaszcz, Loshchilov and Hutter. A Downsampled Variant of ImageNet as an
    Alternative to the CIFAR datasets. https://arxiv.org/abs/1707.08819
"""

import functools
import math
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfp_glow.data.sources import IMAGENET, MAX_HELD_OUT, DatasetInfo, check_split

__all__ = ["ImagenetDataset"]

_NUM_CLASSES = 1000
_NUM_READ = 256  # images at a time


class ImagenetDataset:
    """Images of the training batches and of `val_data.npz`.

    - The last tenth of the training images, 5,000 at most, is validation. Test is
      `val_data.npz`: figures are reported on it, and it chooses no model.
    - Files are read as they are needed, some images at a time.
    - The archives of Python's pickles are not read, for a pickle could run any code.
    """

    def __init__(self, path: str | Path) -> None:
        """Reads the labels, and the beginning of the images.

        Args:
            path: The folder.

        Raises:
            FileNotFoundError: If the files are not there.
            ValueError: If they hold something else.
        """
        self._root = Path(path).expanduser().resolve()
        batches = sorted(self._root.glob("train_data_batch_*.npz"), key=_number)
        held_out = self._root / "val_data.npz"
        if not batches or not held_out.is_file():
            raise FileNotFoundError(
                f"There must be train_data_batch_1.npz, ... and val_data.npz in "
                f"{str(self._root)!r}: unpack Imagenet32_train_npz.zip and "
                "Imagenet32_val_npz.zip, or those of another size, of "
                "https://image-net.org/download-images there. The archives without "
                "npz in their names hold pickles, which could run any code, and are "
                f"not read. Received: {[f.name for f in batches]}."
            )
        self._headers = {f: _header(f) for f in [*batches, held_out]}
        sizes = {size for _, size in self._headers.values()}
        if len(sizes) > 1:
            raise ValueError(
                "All images must have one size. Received: images of the sizes "
                f"{sorted(sizes)} in {str(self._root)!r}."
            )
        (self._size,) = sizes
        self._num_train = sum(self._headers[f][0] for f in batches)
        self._batches, self._test = batches, [held_out]

    def info(self) -> DatasetInfo:
        """Returns the description of the data set."""
        size = f"{self._size}x{self._size}"
        return DatasetInfo(
            name=f"{IMAGENET}{self._root}",
            event_shape=(self._size, self._size, 3),
            num_bits=8,
            num_classes=_NUM_CLASSES,
            num_examples={
                split: stop - start
                for split, (_, start, stop) in self._splits().items()
            },
            homepage="https://image-net.org/download-images",
            note=f"ImageNet at {size} as Chrabaszcz et al. resized it, from "
            "image-net.org: not comparable with downsampled_imagenet; test is "
            "val_data.npz",
        )

    def examples(self, split: str) -> tf.data.Dataset:
        """Returns the images of a split, one by one, always in the same order.

        Shapes:
            Dictionaries of `image`, uint8 `[S, S, 3]`, and `label`, int32 `[]`.

        Raises:
            ValueError: If there is no such split.
        """
        check_split(split)
        files, start, stop = self._splits()[split]

        def blocks() -> Iterator[dict[str, np.ndarray]]:
            position = 0
            for file in files:
                count, _ = self._headers[file]
                first, last = max(start - position, 0), min(stop - position, count)
                if first < last:
                    yield from _blocks(file, self._size, first, last)
                position += count

        signature = {
            "image": tf.TensorSpec([None, self._size, self._size, 3], tf.uint8),
            "label": tf.TensorSpec([None], tf.int32),
        }
        return (
            tf.data.Dataset.from_generator(blocks, output_signature=signature)
            .prefetch(2)
            .unbatch()
            .apply(tf.data.experimental.assert_cardinality(stop - start))
        )

    def _splits(self) -> dict[str, tuple[list[Path], int, int]]:
        """Files of each split, and from where to where in them it reaches."""
        total = self._num_train
        end = total - min(max(1, total // 10), MAX_HELD_OUT)
        return {
            "train": (self._batches, 0, end),
            "validation": (self._batches, end, total),
            "test": (self._test, 0, self._headers[self._test[0]][0]),
        }


def _number(file: Path) -> int:
    found = re.search(r"(\d+)$", file.stem)
    return int(found[1]) if found else 0


def _header(file: Path) -> tuple[int, int]:
    """Number and size of a file's images, without reading them.

    Raises:
        ValueError: If it holds something else.
    """
    try:
        with zipfile.ZipFile(file) as archive, archive.open("data.npy") as stream:
            shape, dtype = _array_header(stream)
        labels = _labels(file, file.stat().st_mtime_ns)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{str(file)!r} cannot be read as one of image-net.org's files of resized "
            f"images, or was cut short: {error}"
        ) from error
    size = math.isqrt(shape[-1] // 3)
    if len(shape) != 2 or shape[1] != 3 * size**2 or dtype != np.uint8 or size % 8:
        raise ValueError(
            "Images must be uint8 [number, 3 x size x size]. "
            f"Received: {dtype} {list(shape)}, 'data' in {str(file)!r}."
        )
    if labels.shape != shape[:1] or labels.min() < 1 or labels.max() > _NUM_CLASSES:
        raise ValueError(
            f"There must be a label from 1 to {_NUM_CLASSES} for each of {shape[0]:,} "
            f"images. Received: {labels.size:,} from {labels.min()} to {labels.max()} "
            f"in {str(file)!r}."
        )
    return shape[0], size


def _array_header(stream: zipfile.ZipExtFile) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array in rows; the stream then stands at its first value."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, is_in_columns, dtype = read(stream)
    if is_in_columns and len(shape) > 1:
        raise ValueError("its values are in columns")
    return shape, dtype


@functools.lru_cache(maxsize=32)  # a command asks several times
def _labels(file: Path, changed_at: int) -> np.ndarray:
    del changed_at
    with np.load(file, allow_pickle=False) as content:
        return content["labels"]


def _blocks(
    file: Path, size: int, first: int, last: int
) -> Iterator[dict[str, np.ndarray]]:
    """Some images and labels of a file at a time, `[N, S, S, 3]` and `[N]`."""
    labels = _labels(file, file.stat().st_mtime_ns)
    num_bytes = 3 * size**2
    with zipfile.ZipFile(file) as archive, archive.open("data.npy") as stream:
        _array_header(stream)
        stream.seek(first * num_bytes, 1)
        for start in range(first, last, _NUM_READ):
            stop = min(start + _NUM_READ, last)
            content = stream.read((stop - start) * num_bytes)
            images = np.frombuffer(content, np.uint8).reshape(-1, 3, size, size)
            yield {
                "image": images.transpose(0, 2, 3, 1),
                "label": labels[start:stop].astype(np.int32) - 1,
            }
