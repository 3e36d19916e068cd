"""Directions in latent space, and the files that keep them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfp_glow._files import replacing
from tfp_glow._suggest import suggestion

__all__ = ["AttributeDirections"]

FORMAT_VERSION = 1
"""Of the files; a later one may not be readable here."""


@dataclass(frozen=True, eq=False)
class AttributeDirections:
    """What `attribute_directions` returns: a direction for each attribute.

    `directions["Smiling"]` is one of them, `[H W C]`.

    Attributes:
        names: Names of the attributes, A of them.
        vectors: Their directions, float32 `[A, H W C]`.
        num_positives: Images that had each attribute, `[A]`.
        num_negatives: Images that had not, `[A]`.
    """

    names: tuple[str, ...]
    vectors: np.ndarray
    num_positives: np.ndarray
    num_negatives: np.ndarray

    def __getitem__(self, name: str) -> np.ndarray:
        """The direction of an attribute, `[H W C]`.

        Raises:
            KeyError: If there is none of that name.
        """
        return self.vectors[self._index(name)]

    def select(self, names: Iterable[str]) -> "AttributeDirections":
        """Some of the directions.

        Raises:
            KeyError: If there is none of a name.
        """
        indices = [self._index(name) for name in names]
        return AttributeDirections(
            tuple(self.names[i] for i in indices),
            self.vectors[indices],
            self.num_positives[indices],
            self.num_negatives[indices],
        )

    def normalized(self) -> "AttributeDirections":
        """The directions at length 1: steps along all of them are equally long.

        A latent of a standard normal is about sqrt(H W C) long.

        Raises:
            ValueError: If one has no length.
        """
        return self._with(self.vectors / self._lengths())

    def orthogonalized(self) -> "AttributeDirections":
        """The nearest directions that are at right angles, each as long as before.

        A step along one then leaves what is measured along the others as it is. They
        are Löwdin's, which treat all alike; those of Gram and Schmidt would depend on
        the order of the attributes.

        Raises:
            ValueError: If one has no length, or they are not independent, as those of
                all classes: an image that is of none of the others is of the last.

        References:
            Löwdin. On the non-orthogonality problem. 1950.
            Shen et al. Interpreting the latent space of GANs for semantic face editing.
            2020. Section 3.2, on why. https://arxiv.org/abs/1907.10786
        """
        if not self.names:
            return self
        lengths = self._lengths()
        left, scales, right = np.linalg.svd(self.vectors / lengths, full_matrices=False)
        if len(scales) < len(self.names) or scales[-1] < 1e-3:
            raise ValueError(
                "These directions depend on one another, and cannot be turned to right "
                "angles, as where the classes of a data set are all there. Leave one "
                f"out: `directions.select([...])`. Received: {list(self.names)}."
            )
        return self._with(lengths * (left @ right))

    def save(self, file: str | Path) -> None:
        """Writes a `.npz` file, without pickle.

        Args:
            file: Its name, which ends in `.npz`.

        Raises:
            FileNotFoundError: If there is no such folder.
            ValueError: If it ends in something else.
        """
        file = Path(file)
        if file.suffix != ".npz":
            raise ValueError(
                f"The name of the file must end in .npz. Received: {str(file)!r}."
            )
        if not file.parent.is_dir():
            raise FileNotFoundError(
                f"There is no folder {file.parent} to write {file.name} into."
            )
        with replacing(file) as partial, partial.open("wb") as opened:
            np.savez(
                opened,
                format_version=FORMAT_VERSION,
                names=np.array(self.names, dtype=np.str_),
                vectors=self.vectors,
                num_positives=self.num_positives,
                num_negatives=self.num_negatives,
            )

    @classmethod
    def load(cls, file: str | Path) -> "AttributeDirections":
        """Reads what `save` wrote.

        Raises:
            OSError: If it cannot be read; `FileNotFoundError` if it is not there.
            ValueError: If it holds something else, or was written by a later version.
        """
        try:
            with np.load(file) as saved:
                content = dict(saved)
            version = int(content.pop("format_version"))
            if version == FORMAT_VERSION:
                return cls(tuple(map(str, content.pop("names"))), **content)
        except OSError:
            raise
        except Exception as error:  # NumPy and zipfile have many kinds.
            raise ValueError(
                f"{file} holds no attribute directions, or is damaged. Make it anew, "
                "with `directions.save`."
            ) from error
        raise ValueError(
            "This version of tfp_glow reads attribute directions of format "
            f"{FORMAT_VERSION}. Received: format_version={version} in {file}."
        )

    def _index(self, name: str) -> int:
        if name not in self.names:
            raise KeyError(
                f"There is no attribute {name!r}; there are {list(self.names)}."
                f"{suggestion(name, self.names)}"
            )
        return self.names.index(name)

    def _lengths(self) -> np.ndarray:
        lengths = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        if lengths.all() and np.isfinite(lengths).all():
            return lengths
        lengths = dict(zip(self.names, lengths[:, 0].tolist(), strict=True))
        raise ValueError(
            f"Each direction must have a length above 0. Received: {lengths}. Select "
            "the others: `directions.select([...])`."
        )

    def _with(self, vectors: np.ndarray) -> "AttributeDirections":
        return AttributeDirections(
            self.names,
            vectors.astype(np.float32),
            self.num_positives,
            self.num_negatives,
        )
