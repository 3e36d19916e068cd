"""What training may keep in memory: an estimate, and a choice by what there is."""

import logging
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import tensorflow as tf
import tensorflow_probability as tfp

tfb = tfp.bijectors

__all__ = [
    "MEMORY",
    "choose_memory",
    "device_bytes",
    "set_memory",
    "stored_bytes_per_image",
]

MEMORY = ("auto", "reversible", "stored")

_LOG = logging.getLogger("tfp_glow")

_CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_SHARE = 0.5
"""Of the memory that stored activations may take: there are parameters and data too."""


def stored_bytes_per_image(
    level_shapes: Sequence[tuple[int, int, int]],
    *,
    num_steps: int,
    hidden_channels: int,
    outputs_per_changed: int = 2,
    dtype: tf.DType,
    network_dtype: tf.DType,
) -> int:
    """Roughly what `memory="stored"` keeps of an image for the backward pass.

    In each step that is two hidden layers of the coupling network, and about six
    tensors of the size of the image; for each number more than two that the network
    returns for a number that changes, about five more. What the first convolution sees
    of an image where it is a product, at most a quarter of the hidden layers, is not
    counted. Of a user's networks nothing is known.

    Args:
        level_shapes: `(H, W, C)` of the image in the steps of each level.
        num_steps: Steps of a level.
        hidden_channels: Width of the coupling networks.
        outputs_per_changed: Network outputs for each channel that changes.
        dtype: Of the image.
        network_dtype: Of the hidden layers.

    Returns:
        Bytes.

    Example:
        >>> stored_bytes_per_image(
        ...     [(16, 16, 12)],
        ...     num_steps=2,
        ...     hidden_channels=512,
        ...     dtype=tf.float32,
        ...     network_dtype=tf.float32,
        ... )
        2244608
    """
    num_tensors = 6 + 5 * max(outputs_per_changed - 2, 0)
    return sum(
        height
        * width
        * num_steps
        * (
            2 * hidden_channels * network_dtype.size
            + num_tensors * channels * dtype.size
        )
        for height, width, channels in level_shapes
    )


def device_bytes() -> int | None:
    """Memory of the device that trains: the smallest GPU's, else the machine's.

    A container's limit counts. None for a GPU of which nothing is known.
    """
    if tf.config.list_physical_devices("GPU"):
        return _gpu_bytes()
    total = psutil.virtual_memory().total
    for file in _CONTAINER_LIMITS:
        try:
            total = min(total, int(file.read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such limit, or "max"
            continue
    return total


def choose_memory(
    bytes_per_image: int, batch_size: int, find_obstacle: Callable[[], str | None]
) -> str:
    """Chooses how to train, and says so in the log `tfp_glow`.

    Args:
        bytes_per_image: What `stored_bytes_per_image` returned.
        batch_size: Images in a batch, on one device.
        find_obstacle: Says why it cannot be `"reversible"`, if it cannot.

    Returns:
        `"stored"` where activations take at most half of the device's memory, or where
        that is not known, or where there is an obstacle; else `"reversible"`.
    """
    needed, available = bytes_per_image * batch_size, device_bytes()
    fits = available is None or needed <= _SHARE * available
    obstacle = None if fits else find_obstacle()
    choice = "stored" if fits or obstacle else "reversible"
    has = "of unknown memory" if available is None else f"with {_gigabytes(available)}"
    _LOG.log(
        logging.INFO if fits else logging.WARNING,
        '`memory`="auto" is %r: for batches of %d images, stored activations would '
        "take about %s, on a device %s.%s",
        choice,
        batch_size,
        _gigabytes(needed),
        has,
        "" if fits else f" {obstacle or 'A step takes about 30% longer so.'}",
    )
    return choice


def _gpu_bytes() -> int | None:
    """What `nvidia-smi` says, the least of all GPUs; TensorFlow does not tell."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(
            query, capture_output=True, check=True, text=True, timeout=10
        )
        return min(int(line) for line in answer.stdout.split()) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _gigabytes(number: int) -> str:
    return f"{number / 1e9:.1f} GB"


def set_memory(chain: tfb.Bijector, memory: str) -> None:
    """Tells the levels of a chain how their backward pass gets its activations.

    Args:
        chain: Its levels of ours have an attribute `memory`; where all of them are
            trained it is set, others are left as they are. Whether it is still to be
            chosen is the chain's `chooses_memory`: it is what copies share.
        memory: One of `MEMORY`.

    Raises:
        ValueError: If `memory` is `"reversible"` and a level is not ours.
    """
    levels, has_chosen = chain.levels, getattr(chain, "chooses_memory", False)
    others = [level for level in levels if not hasattr(level, "memory")]
    if memory == "reversible" and others:
        raise ValueError(
            '`memory`="reversible" undoes a coupling with one evaluation of its '
            "network, which levels of tfp_glow do. Received: chain with the level "
            f'{others[0]!r}. Use `memory`="stored", or make that one a `GlowLevel`.'
        )
    is_trained = all(getattr(level, "is_trained", False) for level in levels)
    chain.chooses_memory = is_trained and memory == "auto"
    if chain.chooses_memory and not has_chosen:
        chain.memory_batch_size = 0
    for level in levels if is_trained and memory != "auto" else ():
        level.memory = memory
