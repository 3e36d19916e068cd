"""Images in a file of NumPy: a `.npy` or `.npz` file as a data set."""

import functools
import zipfile
import zlib
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfp_glow.data.padding import pad, padded_shape, padding_note
from tfp_glow.data.sources import MAX_HELD_OUT, DatasetInfo, check_split

__all__ = ["ArrayDataset"]

_IMAGES = ("images", "labels")
_SPLITS = {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")}


class ArrayDataset:
    """Images of one size in a `.npy` file, or with labels in a `.npz` file.

    - A `.npy` file holds the images, and is read as they are needed.
    - A `.npz` file holds `images` and, where there are any, `labels`; or `x_train`,
      `x_test`, `y_train` and `y_test`, as the files of `keras.datasets`.
    - Images are uint8 `[N, H, W, C]`, or grey `[N, H, W]`. Sizes that 8 does not divide
      are padded with zeros, the image in the centre.
    - Of one array a tenth each, 5,000 at most, is validation and test, chosen at random
      but always the same for an array of this length. With a test array, a tenth of
      the other one is validation.

    Nothing is unpickled: a file of objects could run any code, and is refused.
    """

    def __init__(self, path: str | Path) -> None:
        """Reads the file, or of a `.npy` file its beginning.

        Args:
            path: The file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it holds no images or labels as described.
        """
        self._file = Path(path).expanduser().resolve()
        if not self._file.is_file():
            raise FileNotFoundError(
                f"There is no file {str(self._file)!r}. Name one that holds images."
            )
        arrays = _read(self._file, self._file.stat().st_mtime_ns)
        self._parts = {
            split: (_check_images(arrays[images], images, self._file), labels)
            for split, (images, labels) in _find(arrays, self._file).items()
        }
        shapes = {images.shape[1:] for images, _ in self._parts.values()}
        if len(shapes) > 1:
            raise ValueError(
                "Training and test images must have one shape. "
                f"Received: {sorted(shapes)} in {str(self._file)!r}."
            )
        (self._image_shape,) = shapes
        self._labels = {
            split: self._check_labels(arrays[key], key, len(images))
            for split, (images, key) in self._parts.items()
            if key in arrays
        }
        if len(self._labels) not in (0, len(self._parts)):
            raise ValueError(
                "There must be labels of training and of test images, or of neither. "
                f"Received: {sorted(arrays)} in {str(self._file)!r}."
            )
        self._rows = _split_up({s: len(x) for s, (x, _) in self._parts.items()})
        if not len(self._rows["train"][1]):
            raise ValueError(
                "There must be at least 3 images, one each to train, validate and test "
                f"on. Received: {len(self._parts['train'][0])} in {str(self._file)!r}."
            )

    def info(self) -> DatasetInfo:
        """Returns the description of the data set."""
        num_classes = None
        if self._labels:
            num_classes = 1 + max(int(labels.max()) for labels in self._labels.values())
        return DatasetInfo(
            name=str(self._file),
            event_shape=padded_shape(self._image_shape),
            num_bits=8,
            num_classes=num_classes,
            num_examples={split: len(rows) for split, (_, rows) in self._rows.items()},
            note="; ".join(padding_note(self._image_shape)),
            # With one image more or less each split is of others.
            checksums={
                split: f"{len(rows)}-{zlib.crc32(rows.tobytes()):08x}"
                for split, (_, rows) in self._rows.items()
            },
        )

    def examples(self, split: str) -> tf.data.Dataset:
        """Returns the images of a split, one by one, always in the same order.

        Shapes:
            Dictionaries of `image`, uint8 `[H, W, C]`, and, where the set has labels,
            `label`, int32 `[]`.

        Raises:
            ValueError: If there is no such split.
        """
        check_split(split)
        part, rows = self._rows[split]
        images, _ = self._parts[part]

        def example(row: tf.Tensor, label: tf.Tensor) -> dict[str, tf.Tensor]:
            image = tf.numpy_function(
                lambda row: np.array(images[row]), [row], tf.uint8, stateful=False
            )
            image = tf.ensure_shape(image, self._image_shape)
            image = pad(image, self._image_shape)  # [H, W, C]
            return {"image": image} | ({"label": label} if self._labels else {})

        labels = self._labels[part][rows] if self._labels else np.zeros_like(rows)
        return tf.data.Dataset.from_tensor_slices((rows, labels)).map(
            example, num_parallel_calls=tf.data.AUTOTUNE
        )

    def _check_labels(
        self, labels: np.ndarray, name: str, num_images: int
    ) -> np.ndarray:
        """Returns int32 `[N]`, or raises `ValueError`."""
        where = f"{name!r} in {str(self._file)!r}"
        if labels.shape == (num_images, 1):  # of Keras's CIFAR-10
            labels = labels[:, 0]
        if labels.dtype.kind not in "iu" or labels.shape != (num_images,):
            mend = " Try `labels.argmax(-1)`." if labels.ndim == 2 else ""
            raise ValueError(
                f"There must be one integer for each of {num_images:,} images.{mend} "
                f"Received: {labels.dtype} {labels.shape}, {where}."
            )
        # As many classes as images: most had none, and the labels are something else.
        if labels.min() < 0 or labels.max() >= len(self._parts["train"][0]):
            raise ValueError(
                "Labels must number the classes from 0 on. "
                f"Received: labels from {labels.min()} to {labels.max()}, {where}."
            )
        return labels.astype(np.int32)


@functools.lru_cache(maxsize=1)  # a command asks several times
def _read(file: Path, changed_at: int) -> dict[str, np.ndarray]:
    """The arrays of a file by their names; that of a `.npy` file is `images`."""
    del changed_at
    try:
        content = np.load(file, mmap_mode="r", allow_pickle=False)
        if isinstance(content, np.ndarray):
            return {"images": content}
        names = {*_IMAGES, *(name for pair in _SPLITS.values() for name in pair)}
        with content:
            return {
                n: content[n] for n in content.files if n in names
            } or dict.fromkeys(content.files, np.empty(0))
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error)
        if "pickle" in reason:  # NumPy's guess of whatever does not begin as its files
            reason = "it is damaged, or holds Python objects"
        raise ValueError(
            f"{str(file)!r} is no file of plain NumPy arrays that can be read: {reason}"
        ) from error


def _find(arrays: dict[str, np.ndarray], file: Path) -> dict[str, tuple[str, str]]:
    """Which arrays are the images and labels of which part of the file."""
    if "images" in arrays:
        return {"train": _IMAGES}
    if "x_train" in arrays:
        return {split: keys for split, keys in _SPLITS.items() if keys[0] in arrays}
    raise ValueError(
        "A .npz file must hold `images` and perhaps `labels`; or as Keras's files "
        "`x_train` and `x_test`, and perhaps `y_train` and `y_test`. "
        f"Received: {sorted(arrays)} in {str(file)!r}."
    )


def _check_images(images: np.ndarray, name: str, file: Path) -> np.ndarray:
    """Returns uint8 `[N, H, W, C]`, or raises `ValueError`."""
    where = f"{name!r} in {str(file)!r}"
    if images.dtype != np.uint8:
        mend = "Convert them with `images.astype(np.uint8)` if they are in [0, 255]"
        if images.dtype.kind == "f":
            mend += ", or `np.round(255 * images).astype(np.uint8)` if in [0, 1]"
        raise ValueError(
            f"Images must be uint8, from 0 to 255. {mend}. "
            f"Received: {images.dtype}, {where}."
        )
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or not images.size:
        channels_first = images.ndim == 4 and images.shape[1] in (1, 3)
        mend = " Try `images.transpose(0, 2, 3, 1)`." if channels_first else ""
        raise ValueError(
            "Images must be [number, height, width], or [number, height, width, "
            f"channels] with 1 or 3 channels.{mend} Received: {images.shape}, {where}."
        )
    return images


def _split_up(lengths: dict[str, int]) -> dict[str, tuple[str, np.ndarray]]:
    """Which part of the file each split is of, and where it stands there."""
    # NumPy guarantees the stream of RandomState for ever, of default_rng it does not.
    order = np.random.RandomState(0).permutation(lengths["train"])
    count = min(max(1, len(order) // 10), MAX_HELD_OUT)
    splits = {"validation": ("train", order[:count])}
    if "test" in lengths:
        splits["test"] = ("test", np.arange(lengths["test"]))
        return {"train": ("train", order[count:])} | splits
    splits["test"] = ("train", order[count : 2 * count])
    return {"train": ("train", order[2 * count :])} | splits
