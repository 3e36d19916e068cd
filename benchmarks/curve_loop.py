"""How a flow is trained for a while, and measured meanwhile. Needs numpy alone."""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from subject import Subject

__all__ = ["Trainee", "follow", "read_points", "read_state"]

_EVALUATED = 100  # images in a batch whose bits/dim are measured


@dataclass
class Trainee:
    """A flow and its optimizer.

    Attributes:
        step: Takes images `[B, H, W, C]` in [-0.5, 0.5) and Adamax's learning rate,
            takes a step, and returns the mean negative log-likelihood in nats.
        negative_log_likelihood: Takes images, returns nats `[B]`.
        average: Moves the weights' averages towards the weights, by a momentum.
        swap: Exchanges weights and averages.
        state: All that steps change, copied: weights, averages, optimizer.
        restore: Takes such a state, after a first step.
        num_parameters: Numbers that are trained.
    """

    step: Callable[[np.ndarray, float], float]
    negative_log_likelihood: Callable[[np.ndarray], np.ndarray]
    average: Callable[[float], None]
    swap: Callable[[], None]
    state: Callable[[], list[np.ndarray]]
    restore: Callable[[list[np.ndarray]], None]
    num_parameters: int


def follow(
    make: Callable[[], Trainee],
    *,
    images: str,
    file: str,
    cpu_minutes: float,
    num_points: int,
    last_point: int,
    batch_size: int,
    learning_rate: float,
    momentum: float,
) -> Subject:
    """A subject whose only call trains to a point of the curve, and leaves a file.

    Where the file is there, training goes on from it; not where the loss has once been
    no finite number. Minutes are those of this process on all cores, without its first
    step, which traces, and without what it is measured in. The learning rate rises over
    the first twentieth of them and falls as half a cosine.

    Args:
        make: Makes the flow.
        images: An `.npz` file of `train` and `held_out`, `uint8` `[N, H, W, C]`.
        file: For points and state, `.npz`; see `read_points`.
        cpu_minutes: Of training, for the whole curve.
        num_points: How often it is measured, on the first 1,000 held-out images; at the
            end on all.
        last_point: Which of them ends this call, from 1.
        batch_size: Images in a step.
        learning_rate: Adamax's, the largest.
        momentum: Of the moving average of the weights.
    """
    data = np.load(images)
    train, held_out = data["train"], data["held_out"]
    trainee = make()
    points = read_points(file)

    def measure() -> dict[str, float]:
        """On the first images, but at the end on all."""
        is_last = len(points) + 1 == num_points
        count = len(held_out) if is_last else min(1000, len(held_out))
        trainee.swap()
        rng = np.random.default_rng(0)
        nats = [
            trainee.negative_log_likelihood(_dequantized(part, rng))
            for part in np.split(held_out[:count], range(_EVALUATED, count, _EVALUATED))
        ]
        trainee.swap()
        bits = _as_bits(np.concatenate(nats), held_out)
        return {
            "held_out": float(bits.mean()),
            "standard_error": float(bits.std(ddof=1) / math.sqrt(len(bits))),
        }

    def call() -> float:
        batches = _batches(train, batch_size)
        trainee.step(next(batches), 0.0)  # traces, and initialises what needs data
        trainee.average(1.0)
        spent, number, losses = 0.0, 0, []
        if points:
            spent, number = 60 * points[-1]["cpu_minutes"], points[-1]["steps"]
            trainee.restore(read_state(file))
            for _ in range(number):
                next(batches)
        seconds = 60 * cpu_minutes
        while len(points) < last_point:
            started = time.process_time()
            part = spent / seconds
            warm_up, decay = min(20 * part, 1), 0.5 * (1 + math.cos(np.pi * part))
            losses.append(trainee.step(next(batches), learning_rate * warm_up * decay))
            number += 1
            trainee.average(min(momentum, number / (number + 10)))
            spent += time.process_time() - started
            if not math.isfinite(losses[-1]):
                missing = num_points - len(points)
                points.extend([{"cpu_minutes": spent / 60, "steps": number}] * missing)
                _write(file, points, [])
                break
            if spent >= seconds * (len(points) + 1) / num_points:
                point = {
                    "cpu_minutes": spent / 60,
                    "steps": number,
                    "train": float(_as_bits(np.mean(losses), train)),
                    **measure(),
                }
                points.append(point)
                losses = []
                _write(file, points, trainee.state())
        return points[-1]["cpu_minutes"]

    return Subject(call, 0, trainee.num_parameters)


def read_points(file: str | Path) -> list[dict[str, float]]:
    """The curve so far; empty where there is no file.

    Each point has `cpu_minutes` and `steps`, and `train`, `held_out` and its
    `standard_error`, in bits/dim, unless the training came to an end in NaN.
    """
    if not Path(file).exists():
        return []
    with np.load(file) as found:
        return json.loads(str(found["points"]))


def read_state(file: str | Path) -> list[np.ndarray]:
    """What a trainee's `state` was at the last point."""
    with np.load(file) as found:
        return [found[f"state_{i}"] for i in range(len(found.files) - 1)]


def _write(file: str, points: list[dict], state: list[np.ndarray]) -> None:
    """All or nothing: it may be interrupted."""
    arrays = {f"state_{i}": value for i, value in enumerate(state)}
    half = Path(file).with_suffix(".half.npz")
    np.savez(half, points=json.dumps(points), **arrays)
    half.replace(file)


def _batches(images: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Batch after batch, half of the images mirrored; the same ones for everybody."""
    rng = np.random.default_rng(1)
    while True:
        order = rng.permutation(len(images))
        for start in range(0, len(order) - batch_size + 1, batch_size):
            batch = images[order[start : start + batch_size]]
            is_mirrored = rng.random(batch_size) < 0.5
            batch[is_mirrored] = batch[is_mirrored, :, ::-1]
            yield _dequantized(batch, rng)


def _dequantized(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = rng.random(images.shape, dtype=np.float32)
    return np.minimum((images + noise) / 256 - 0.5, np.float32(0.5 - 1e-6))


def _as_bits(nats: np.ndarray, images: np.ndarray) -> np.ndarray:
    return nats / (math.log(2) * math.prod(images.shape[1:])) + 8
