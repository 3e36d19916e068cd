"""Images by name: uint8 batches for `GlowModel.fit` and `GlowModel.evaluate`.

Two small sets need no network, because scikit-learn and scikit-image ship them:
"digits" (8x8, 4 bits) and "photos" (32x32 RGB, 8 bits). "folder:PATH" is a folder of
pictures, a name that ends in .npy or .npz a file of images, and "imagenet_npz:PATH" a
folder of image-net.org's resized images. Every other name is a data set of TensorFlow
Datasets, such as "fashion_mnist" or "imagenet_resized/32x32".

Importing this package imports none of these packages; a name that needs one does.

Example:
    >>> from tfp_glow import data
    >>> train = data.load("digits", "train", batch_size=64, shuffle=True)
    >>> train.element_spec.shape
    TensorShape([None, 8, 8, 1])
    >>> data.describe("digits").num_bits
    4
"""

from tfp_glow.data.augmentation import random_flip, random_shift
from tfp_glow.data.epochs import endless_epochs
from tfp_glow.data.pipelines import (
    describe,
    is_resizable,
    load,
    load_arrays,
    names,
)
from tfp_glow.data.sources import DatasetInfo

__all__ = [
    "DatasetInfo",
    "describe",
    "endless_epochs",
    "is_resizable",
    "load",
    "load_arrays",
    "names",
    "random_flip",
    "random_shift",
]
