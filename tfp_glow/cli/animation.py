"""Images one after another, forth and back: GIF and MP4 files."""

from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from tfp_glow._extras import require

__all__ = ["require_video", "save_gif", "save_mp4"]

_FRAMES_PER_SECOND = 10
_MIN_SIDE = 256


def save_gif(images: np.ndarray, file: Path) -> None:
    """Writes a GIF file that goes on for ever.

    Args:
        images: `uint8` `[N, H, W, C]`, `C` 1 or 3.
        file: The file.
    """
    first, *others = (Image.fromarray(frame) for frame in _frames(images))
    first.save(
        file,
        save_all=True,
        append_images=others,
        duration=1000 // _FRAMES_PER_SECOND,
        loop=0,
    )


def save_mp4(images: np.ndarray, file: Path) -> None:
    """Writes an MP4 file, H.264, as browsers and telephones play it.

    Args:
        images: `uint8` `[N, H, W, C]`, `C` 1 or 3.
        file: The file.

    Raises:
        ImportError: If PyAV is not installed.
    """
    av = require_video()
    frames = _frames(images)
    # Its chroma has half the resolution: sides must be even.
    odd = [(0, size % 2) for size in frames.shape[1:3]]
    frames = np.pad(frames, [(0, 0), *odd, (0, 0)], mode="edge")
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=_FRAMES_PER_SECOND)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())


def require_video() -> ModuleType:
    """Imports PyAV.

    Raises:
        ImportError: If it is not installed, with the command that installs it.
    """
    return require("av", "An MP4 file", extra="video")


def _frames(images: np.ndarray) -> np.ndarray:
    """Forth and back, in colours and at least of a size that can be seen."""
    images = np.asarray(images)
    images = np.repeat(images, 3 // images.shape[-1], axis=-1)  # [N, H, W, 3]
    factor = -(-_MIN_SIDE // min(images.shape[1:3]))
    large = images.repeat(factor, axis=1).repeat(factor, axis=2)
    return np.concatenate([large, large[-2:0:-1]])
