"""Figures of images and of training, to save or show; matplotlib's state is not used.

They are plain `matplotlib.figure.Figure`s: `figure.savefig("samples.png")` writes one,
and a notebook, after `%matplotlib inline`, shows one that is the last value of a cell.
"""

from collections.abc import Mapping, Sequence
from math import ceil, sqrt

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

__all__ = [
    "image_grid",
    "image_strips",
    "latent_statistics",
    "reconstructions",
    "roc_curves",
    "sample_sheet",
    "tile",
    "training_curves",
]

_DPI = 100
_TARGET_PIXELS = 800
_MAX_PIXELS = 2**15  # height or width; matplotlib draws less than twice as many
_TEXT = 30  # pixels above axes for a title, or below for captions
_GAP = 10  # pixels between axes
_LINE = 255  # Grey level between images.


def image_grid(images: np.ndarray, num_columns: int | None = None) -> Figure:
    """Images side by side, each pixel a square of the same size.

    Args:
        images: `uint8` `[N, H, W, C]`, `C` 1 or 3.
        num_columns: Images in a row; about as many as rows when not given.

    Returns:
        The figure, which saves at a whole number of pixels for each of an image's.

    Raises:
        ValueError: If the shape or type is another.

    Example:
        >>> figure = image_grid(np.zeros([6, 8, 8, 1], np.uint8), num_columns=3)
        >>> figure.axes[0].images[0].get_size()
        (19, 28)
    """
    tiles = tile(images, num_columns)
    height, width = tiles.shape[:2]
    scale = max(1, _TARGET_PIXELS // max(height, width))
    # The hundredth of a pixel: matplotlib cuts off what is not whole.
    inches = [(size * scale + 0.01) / _DPI for size in (width, height)]
    figure = Figure(figsize=inches, dpi=_DPI)
    _show(figure.add_axes([0, 0, 1, 1]), tiles)
    return figure


def sample_sheet(
    real: np.ndarray, samples_by_temperature: Mapping[float, np.ndarray]
) -> Figure:
    """Real images beside samples at several temperatures.

    Args:
        real: Images of the data set, `uint8` `[N, H, W, C]`.
        samples_by_temperature: Images of the model, by temperature.

    Returns:
        The figure, as large as it takes not to leave out pixels.

    Raises:
        ValueError: If shapes or types are other than `image_grid` takes.

    Example:
        >>> images = np.zeros([4, 8, 8, 1], np.uint8)
        >>> figure = sample_sheet(images, {0.7: images, 1.0: images})
        >>> [axes.get_title() for axes in figure.axes]
        ['Real images', 'Temperature 0.7', 'Temperature 1.0']
    """
    panels = {"Real images": real}
    panels |= {
        f"Temperature {t}": images for t, images in samples_by_temperature.items()
    }
    tiles = [tile(images, None) for images in panels.values()]
    num_columns = min(3, len(panels))
    num_rows = ceil(len(panels) / num_columns)
    figure = _figure_for(
        tiles, num_columns, (4 * num_columns, 4.3 * num_rows), (391, 391)
    )
    for axes, title, shown in zip(figure.axes, panels, tiles, strict=True):
        axes.set_title(title)
        _show(axes, shown)
    return figure


def training_curves(history: Mapping[str, Sequence[float]]) -> Figure:
    """Bits/dim of training and validation, and where validation was best.

    Args:
        history: `bits_per_dim` of each epoch, and `val_bits_per_dim` if there was
            validation, as Keras's `History.history` has them; with
            `val_bits_per_dim_raw` besides that is of averaged weights, as
            `EvaluateAverage` has it, and both are drawn.

    Returns:
        The figure.

    Raises:
        ValueError: If there are not as many values of validation, as with `fit`'s
            `validation_freq`: give NaN for the epochs without.

    Example:
        >>> figure = training_curves(
        ...     {"bits_per_dim": [3.0, 2.0, 1.9], "val_bits_per_dim": [2.5, 2.1, 2.2]}
        ... )
        >>> figure.axes[0].get_legend().get_texts()[-1].get_text()
        'best, epoch 2: 2.100'
    """
    figure = Figure(figsize=(7, 4.5), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot(xlabel="epoch", ylabel="bits/dim")
    train, validation = history["bits_per_dim"], history.get("val_bits_per_dim")
    if validation is not None and len(validation) != len(train):
        raise ValueError(
            "There must be `val_bits_per_dim` for each epoch, NaN for one without "
            f"validation. Received: {len(train)} epochs, {len(validation)} values."
        )
    epochs = np.arange(1, len(train) + 1)
    # A single epoch would be no line.
    axes.plot(epochs, train, ".-", label="train")
    if validation is not None:
        raw = history.get("val_bits_per_dim_raw")
        averaged = ", averaged weights" * (raw is not None)
        axes.plot(epochs, validation, ".-", label=f"validation{averaged}")
        if raw is not None:
            axes.plot(epochs, raw, ":", label="validation, not averaged")
    if validation is not None and np.isfinite(validation).any():
        best = int(np.nanargmin(validation))
        axes.plot(
            best + 1,
            validation[best],
            "o",
            color="black",
            fillstyle="none",
            label=f"best, epoch {best + 1}: {validation[best]:.3f}",
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def image_strips(
    rows: Mapping[str, np.ndarray], captions: Sequence[str] = ()
) -> Figure:
    """Images in rows, such as those that lead from one to another.

    Args:
        rows: The images of each row, `uint8` `[N, H, W, C]`, by what stands above it.
        captions: What stands below each column; nothing when not given.

    Returns:
        The figure, as large as it takes not to leave out pixels.

    Raises:
        ValueError: If shapes or types are other than `image_grid` takes, or there are
            not as many captions as images in each row.

    Example:
        >>> images = np.zeros([3, 8, 8, 1], np.uint8)
        >>> figure = image_strips({"bright": images, "dark": images}, ["-1", "0", "1"])
        >>> [axes.get_title("left") for axes in figure.axes]
        ['bright', 'dark']
    """
    counts = {len(images) for images in rows.values()} or {0}
    num_columns = max(counts)
    if not min(counts) or (captions and counts != {len(captions)}):
        raise ValueError(
            "There must be images, and with captions as many in each row. Received: "
            f"{len(rows)} rows of {sorted(counts)} images, {len(captions)} captions."
        )
    tiles = [tile(images, len(images)) for images in rows.values()]
    width = max(4.0, 0.9 * num_columns)
    figure = _figure_for(
        tiles, 1, (width, 1.25 * len(rows) + 0.25), (99, width * _DPI - 9)
    )
    for axes, name, shown in zip(figure.axes, rows, tiles, strict=True):
        axes.set_title(name, loc="left", fontsize="small")
        axes.imshow(shown, interpolation="nearest")
        axes.set_frame_on(False)
        has_captions = captions and axes is figure.axes[-1]
        centers = (np.arange(num_columns) + 0.5) * (shown.shape[1] - 1) / num_columns
        axes.set_xticks(centers if has_captions else [])
        if has_captions:
            axes.set_xticklabels(captions)
        axes.set_yticks([])
        axes.tick_params(length=0)
    return figure


def reconstructions(images: np.ndarray, decoded: np.ndarray) -> Figure:
    """Images, what comes back of their latents, and the difference.

    The largest difference is shown white.

    Args:
        images: `uint8` `[N, H, W, C]`.
        decoded: What `model.decode(model.encode(images))` returned. With fewer than 8
            bits the low ones are gone.

    Returns:
        The figure.

    Raises:
        ValueError: If shapes differ, or are other than `image_grid` takes.

    Example:
        >>> images = np.full([3, 8, 8, 1], 200, np.uint8)
        >>> figure = reconstructions(images, images - 5)
        >>> figure.axes[2].get_title("left")
        'Differences, up to 5'
    """
    images, decoded = np.asarray(images), np.asarray(decoded)
    if images.shape != decoded.shape:
        raise ValueError(
            "There must be as many images decoded. Received: shapes "
            f"{images.shape} and {decoded.shape}."
        )
    differences = np.abs(images.astype(int) - decoded).astype(np.uint8)
    largest = differences.max(initial=0)
    brightened = np.round(differences * (255 / max(1, largest))).astype(np.uint8)
    return image_strips(
        {
            "Images": images,
            "Decoded": decoded,
            f"Differences, up to {largest}": brightened,
        }
    )


def latent_statistics(levels: Sequence[np.ndarray]) -> Figure:
    """How the latents of each level are distributed, beside the standard normal.

    Args:
        levels: Latents of each level, the finest first, as
            `tfp_glow.latents.split_levels` gives them, `[N, n]`.

    Returns:
        The figure, with the mean and the standard deviation of each level.

    Raises:
        ValueError: If they have another shape.

    Example:
        >>> levels = np.random.default_rng(0).normal(0.0, 2.0, [2, 1000, 50])
        >>> figure = latent_statistics(levels)
        >>> figure.axes[1].get_title()
        'Level 1: mean -0.01, deviation 2.00'
    """
    shapes = [np.shape(z) for z in levels]
    if not shapes or any(len(shape) != 2 for shape in shapes):
        raise ValueError(
            "`levels` must be what `latents.split_levels` returns, [N, n] each. "
            f"Received: shapes {shapes}."
        )
    figure = Figure(figsize=(4 * len(levels), 3.2), dpi=_DPI, layout="constrained")
    x = np.linspace(-5.0, 5.0, 201)
    density = np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi)
    for i, z in enumerate(levels):
        z = np.asarray(z, np.float64).ravel()
        title = f"Level {i}: mean {z.mean():.2f}, deviation {z.std():.2f}"
        axes = figure.add_subplot(1, len(levels), i + 1, title=title, xlabel="latent")
        heights, edges = np.histogram(z, bins=100, range=(-5.0, 5.0))
        heights = heights / (len(z) * np.diff(edges))  # of those outside too
        axes.stairs(heights, edges, fill=True, alpha=0.5, label="latents")
        axes.plot(x, density, "black", label="standard normal")
    figure.axes[0].legend()
    return figure


def roc_curves(curves: Mapping[str, tuple[float, np.ndarray, np.ndarray]]) -> Figure:
    """How well scores tell strange images from others.

    Args:
        curves: What `tfp_glow.latents.roc` returned, by the name of the score.

    Returns:
        The figure.

    Example:
        >>> curve = (0.5, np.array([0.0, 1.0]), np.array([0.0, 1.0]))
        >>> figure = roc_curves({"likelihood": curve})
        >>> figure.axes[0].get_legend().get_texts()[0].get_text()
        'likelihood: area 0.500'
    """
    figure = Figure(figsize=(4.5, 4.5), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot(xlabel="false positives", ylabel="true positives")
    for name, (area, false_positives, true_positives) in curves.items():
        axes.plot(false_positives, true_positives, label=f"{name}: area {area:.3f}")
    axes.plot([0, 1], [0, 1], ":", color="grey", label="chance")
    axes.set_aspect("equal")
    axes.legend()
    return figure


def _figure_for(
    tiles: Sequence[np.ndarray],
    num_columns: int,
    inches: tuple[float, float],
    room: tuple[float, float],
) -> Figure:
    """A figure with axes for tiles, none smaller than its tile: that would lose pixels.

    Args:
        tiles: What `tile` returned.
        num_columns: Axes in a row.
        inches: Width and height of the figure, where it is large enough.
        room: Height and width in pixels that axes of it have at least.
    """
    sizes = np.array([shown.shape[:2] for shown in tiles])  # [N, 2]
    num_rows = ceil(len(tiles) / num_columns)
    height, width = sizes.max(axis=0) + (_TEXT, _GAP)
    # The hundredth of a pixel as in `image_grid`.
    total_height = num_rows * height + _TEXT + 0.01
    total_width = max(num_columns * width + _GAP, inches[0] * _DPI) + 0.01
    is_large = (sizes > room).any()
    if not is_large or max(total_height, total_width) > _MAX_PIXELS:
        figure = Figure(figsize=inches, dpi=_DPI, layout="constrained")
        for i in range(len(tiles)):
            figure.add_subplot(num_rows, num_columns, i + 1)
        return figure
    inches = total_width / _DPI, total_height / _DPI
    figure = Figure(figsize=inches, dpi=_DPI)
    for i, (h, w) in enumerate(sizes):
        row, column = divmod(i, num_columns)
        left = (total_width - num_columns * width + _GAP) // 2 + column * width
        bottom = total_height // 1 - _TEXT - row * height - h
        box = np.array([[left, bottom], [w, h]]) / [total_width, total_height]
        figure.add_axes(box.ravel())
    return figure


def _show(axes: Axes, tiles: np.ndarray) -> None:
    axes.imshow(tiles, interpolation="nearest")
    axes.set_axis_off()


def tile(images: np.ndarray, num_columns: int | None) -> np.ndarray:
    """One RGB image of many, with lines between and around them.

    Args:
        images: `uint8` `[N, H, W, C]`, `C` 1 or 3.
        num_columns: Images in a row; about as many as rows when `None`.

    Returns:
        `uint8` `[rows * (H + 1) + 1, columns * (W + 1) + 1, 3]`.

    Raises:
        ValueError: If the shape or type is another.

    Example:
        >>> tile(np.zeros([6, 8, 8, 1], np.uint8), 3).shape
        (19, 28, 3)
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(
            "`images` must be uint8 of shape [N, H, W, 1] or [N, H, W, 3]. Received: "
            f"dtype={images.dtype}, shape={images.shape}."
        )
    if not len(images):
        raise ValueError(f"There are no images. Received: shape={images.shape}.")
    if num_columns is not None and not (num_columns > 0 and num_columns % 1 == 0):
        raise ValueError(
            "`num_columns` must be a positive integer. Received: "
            f"num_columns={num_columns!r}."
        )
    num_columns = int(num_columns or ceil(sqrt(len(images))))
    num_rows = ceil(len(images) / num_columns)
    missing = num_rows * num_columns - len(images)
    images = np.repeat(images, 3 // images.shape[-1], axis=-1)  # [N, H, W, 3]
    padding = [(0, missing), (1, 0), (1, 0), (0, 0)]
    images = np.pad(images, padding, constant_values=_LINE)  # [R*Q, 1+H, 1+W, 3]
    _, height, width, channels = images.shape
    tiles = images.reshape(num_rows, num_columns, height, width, channels)
    tiles = tiles.swapaxes(1, 2).reshape(
        num_rows * height, num_columns * width, channels
    )
    return np.pad(tiles, [(0, 1), (0, 1), (0, 0)], constant_values=_LINE)
