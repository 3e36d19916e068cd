"""A folder of anybody's pictures as a data set: `folder:PATH`."""

import functools
import logging
import os
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from tfp_glow.data.sources import (
    ARRAY_SUFFIXES,
    FOLDER,
    MAX_HELD_OUT,
    SIZE_MULTIPLE,
    SPLITS,
    DatasetInfo,
    check_split,
)
from tfp_glow.data.squares import check_crop, note, to_squares

__all__ = ["FolderDataset"]

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
_SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val"),
    "test": ("test", "testing"),
}
_NUM_NAMED = 10

_log = logging.getLogger("tfp_glow")


class FolderDataset:
    """Pictures below a folder, cut to squares and resized, see `squares`.

    - Folders named train, validation and test are the splits; otherwise a tenth of the
      pictures each, 5,000 at most, chosen by their names, is validation and test. Where
      there is a folder train, a tenth of it is validation if there is no such folder.
      What lies beside train and one of the others is left out, with a warning. Without
      train the others are folders like any other, with a warning.
    - Links to folders are followed; hidden files and folders are not looked at.
    - Where all pictures lie in folders, the topmost of these are the classes, numbered
      in the order of their names.
    - Grey pictures stay grey if all are; among others they become coloured.
    - What cannot be read, as what is no regular file, is left out: at once where its
      beginning shows it, with a warning that names files; later, where its end is
      missing, with one each.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        image_size: int | None = None,
        crop: str = "center",
        seed: int | tf.Tensor = 0,
    ) -> None:
        """Looks at every file's beginning.

        Args:
            path: The folder.
            image_size: Side of the squares. The pictures' own size when not given, if
                that is one for all.
            crop: How they are cut out, one of `squares.CROPS`.
            seed: Of random crops, which training pictures alone have.

        Raises:
            FileNotFoundError: If there is no such folder, or no picture in it.
            ValueError: If the pictures differ in size and `image_size` is not given,
                there are too few to have three splits, or there is no such crop.
        """
        check_crop(crop, image_size)
        if not str(path):
            raise FileNotFoundError(
                f"`{FOLDER}` needs the path of a folder of pictures: {FOLDER}PATH."
            )
        self._root = Path(path).expanduser().resolve()
        if not self._root.is_dir():
            mend = f"Name the folder of your pictures after `{FOLDER}`."
            if self._root.suffix in ARRAY_SUFFIXES and self._root.is_file():
                mend = f"A file of arrays is named without `{FOLDER}`."
            raise FileNotFoundError(f"There is no folder {str(self._root)!r}. {mend}")
        found = _pictures(self._root)
        if not found:
            raise FileNotFoundError(
                f"There is no picture in {str(self._root)!r} that can be read. Files "
                f"that end in one of {sorted(_SUFFIXES)} are looked at, in folders of "
                "the folder too."
            )
        self._image_size, self._crop, self._seed = image_size, crop, seed
        self._splits = _split_up([file for file, _, _ in found], self._root)
        used = {file for files in self._splits.values() for file in files}
        found = [picture for picture in found if picture[0] in used]
        self._shape = _event_shape(found, image_size, self._root)
        self._num_grey = sum(is_grey for _, _, is_grey in found)
        self._num_small = sum(min(size) < min(self._shape[:2]) for _, size, _ in found)
        self._classes = _classes(self._splits)

    def info(self) -> DatasetInfo:
        """Returns the description of the data set."""
        notes = [f"pictures of {self._root.name}: {note(self._image_size, self._crop)}"]
        if self._num_small:
            notes.append(f"{self._num_small:,} of them were smaller")
        if self._num_grey and self._shape[2] == 3:
            notes.append(f"{self._num_grey:,} of them are grey, and taken for colour")
        if self._classes:
            named = [f"{i} {name}" for i, name in enumerate(self._classes[:_NUM_NAMED])]
            more = ", ..." if self._classes[_NUM_NAMED:] else ""
            notes.append(f"classes are {', '.join(named)}{more}")
        return DatasetInfo(
            name=f"{FOLDER}{self._root}",
            event_shape=self._shape,
            num_bits=8,
            num_classes=len(self._classes) or None,
            class_names=tuple(self._classes),
            checksums={
                split: _checksum(file.relative_to(self._root) for file in files)
                for split, files in self._splits.items()
                if files
            },
            num_examples={
                split: len(files) for split, files in self._splits.items() if files
            },
            note="; ".join(notes),
        )

    def examples(self, split: str) -> tf.data.Dataset:
        """Returns the pictures of a split, one by one, always in the same order.

        Shapes:
            Dictionaries of `image`, uint8 `[H, W, C]`, and, where there are classes,
            `label`, int32 `[]`.

        Raises:
            ValueError: If there is no such split.
        """
        check_split(split)
        files = self._splits.get(split, {})
        if not files:
            raise ValueError(
                f"There are no {split} pictures in {str(self._root)!r}. Received: "
                f"split={split!r}; there are {[s for s in SPLITS if self._splits[s]]}."
            )
        examples = {"file": list(map(os.fsencode, files))}
        if self._classes:
            labels = [self._classes.index(name) for name in files.values()]
            examples["label"] = np.array(labels, np.int32)
        return to_squares(
            tf.data.Dataset.from_tensor_slices(examples),
            self._shape,
            crop=self._crop,
            seed=self._seed if split == "train" else None,
        )


def _pictures(root: Path) -> list[tuple[Path, tuple[int, int], bool]]:
    """Files that begin as pictures do, with their size and whether they are grey."""
    files = sorted(f for f in _files(root) if f.suffix.lower() in _SUFFIXES)
    return _beginnings(tuple(files))


def _files(root: Path) -> Iterator[Path]:
    """Files in a folder and below, but hidden ones; no folder twice, by links too."""
    folders, links, seen = deque([root]), deque(), set()
    while folders or links:
        folder = (folders or links).popleft()  # links last: they may lead to others
        here = folder.resolve()
        if here in seen:
            _warn(f"{folder} leads to a folder that is looked at already: left out.")
            continue
        seen.add(here)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            _warn(f"{folder} cannot be read and is left out: {error.strerror}.")
            continue
        for entry in entries:
            path = folder / entry.name
            if entry.name.startswith("."):
                continue
            if not _is_folder(entry):
                yield path
            elif entry.is_symlink():
                links.append(path)
            else:
                folders.append(path)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, say
        return False


@functools.cache  # a command asks several times
def _warn(message: str) -> None:
    _log.warning("%s", message)


@functools.lru_cache(maxsize=4)  # a command asks several times
def _beginnings(files: tuple[Path, ...]) -> list[tuple[Path, tuple[int, int], bool]]:
    """Those of the files that can be read, as `_pictures` returns them."""
    with ThreadPoolExecutor() as pool:
        seen = list(pool.map(_header, files))
    broken = [file for file, header in zip(files, seen, strict=True) if header is None]
    if broken:
        _warn(
            f"{len(broken)} of {len(files)} pictures cannot be read and are left out: "
            f"{_named(broken)}."
        )
    return [
        (file, *header)
        for file, header in zip(files, seen, strict=True)
        if header is not None
    ]


def _named(files: Sequence[Path]) -> str:
    """The first few, by their names."""
    more = f" and {len(files) - _NUM_NAMED} more" if files[_NUM_NAMED:] else ""
    return ", ".join(map(str, files[:_NUM_NAMED])) + more


def _header(file: Path) -> tuple[tuple[int, int], bool] | None:
    """Width and height, and whether it is grey; `None` where that cannot be read."""
    try:
        if not file.is_file():  # Of a pipe the beginning may never come.
            return None
        with Image.open(file) as image:
            is_grey = image.mode in ("1", "L", "LA") or image.mode.startswith("I")
            return None if image.mode == "F" else (image.size, is_grey)
    except Exception:  # Pillow raises many kinds.
        return None


def _event_shape(
    found: list[tuple[Path, tuple[int, int], bool]],
    image_size: int | None,
    root: Path,
) -> tuple[int, int, int]:
    channels = 1 if all(is_grey for _, _, is_grey in found) else 3
    if image_size is not None:
        return image_size, image_size, channels
    sizes = {size for _, size, _ in found}
    (width, height), *others = sizes
    if others or width != height or width % SIZE_MULTIPLE:
        smallest, largest = min(sizes), max(sizes)
        raise ValueError(
            "A flow is for images of one size, and these are not all squares of one "
            f"size that {SIZE_MULTIPLE} divides: give `image_size` (--image-size), "
            "such as 32 or 64, to which the square in the middle of each is resized. "
            f"Received: pictures of {smallest[0]}x{smallest[1]} to "
            f"{largest[0]}x{largest[1]} in {str(root)!r}."
        )
    return height, width, channels


def _split_up(files: list[Path], root: Path) -> dict[str, dict[Path, str]]:
    """The files of each split, with the name of their class, empty where none."""
    names = {n: split for split, names in _SPLIT_FOLDERS.items() for n in names}
    # By a checksum of the name: a mixture of classes from the first on, and the same
    # pictures held out whatever else is in the folder.
    files = sorted(files, key=lambda f: zlib.crc32(os.fsencode(f.relative_to(root))))
    split_of = {f: names.get(f.relative_to(root).parts[0].lower()) for f in files}
    others = [f for f in files if split_of[f] is None]
    # Beside others "train" alone may be a class.
    found = set(split_of.values())
    is_split_already = "train" in found and (not others or len(found - {None}) > 1)
    if is_split_already and others:
        _warn(
            f"{root} holds folders of splits, and {len(others)} pictures elsewhere are "
            f"left out: {_named(others)}."
        )
    if "train" not in found and found - {None}:
        held_out = {f.relative_to(root).parts[0] for f in files if split_of[f]}
        _warn(
            f"{root} has no folder train: the pictures in {sorted(held_out)} are taken "
            "like all others, and trained on. If they are to be held out, put those "
            "that are to be trained on into a folder train."
        )
    if is_split_already:
        splits = {s: [f for f in files if split_of[f] == s] for s in SPLITS}
    else:
        splits = {"train": files, "validation": [], "test": []}
    count = min(max(1, len(splits["train"]) // 10), MAX_HELD_OUT)
    for split in ["validation"] if is_split_already else ["validation", "test"]:
        if not splits[split]:
            train = splits["train"]
            splits[split], splits["train"] = train[:count], train[count:]
    if not splits["train"]:
        raise ValueError(
            "There must be at least 3 pictures, one each to train, validate and test "
            f"on. Received: {len(files)} in {str(root)!r}."
        )
    depth = 1 if is_split_already else 0
    return {
        split: {
            file: "/".join(file.relative_to(root).parts[depth:-1][:1]) for file in files
        }
        for split, files in splits.items()
    }


def _checksum(files: Iterable[Path]) -> str:
    names = sorted(os.fsencode(file.as_posix()) for file in files)
    checksum = zlib.crc32(b"\0".join(names))
    return f"{len(names)}-{checksum:08x}"


def _classes(splits: dict[str, dict[Path, str]]) -> list[str]:
    """Names of the classes; none if a picture is in no folder, or all in one."""
    names = {name for files in splits.values() for name in files.values()}
    return sorted(names) if "" not in names and len(names) > 1 else []
