"""How a flow is trained for a while, and measured meanwhile. Needs numpy alone."""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from subject import Subject

__all__ = ["Trainee", "follow"]

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
        num_parameters: Numbers that are trained.
    """

    step: Callable[[np.ndarray, float], float]
    negative_log_likelihood: Callable[[np.ndarray], np.ndarray]
    average: Callable[[float], None]
    swap: Callable[[], None]
    num_parameters: int


def follow(
    make: Callable[[], Trainee],
    *,
    images: str,
    curve: str,
    cpu_minutes: float,
    num_points: int,
    batch_size: int,
    learning_rate: float,
    momentum: float,
) -> Subject:
    """A subject whose only call trains for some minutes, and leaves a curve.

    Minutes are those of this process on all cores, without its first step, which
    traces, and without what it is measured in. The learning rate rises over the first
    twentieth of them and falls as half a cosine.

    Args:
        make: Makes the flow.
        images: An `.npz` file of `train` and `held_out`, `uint8` `[N, H, W, C]`.
        curve: A file for the points, JSON.
        cpu_minutes: Of training.
        num_points: How often it is measured, on the first 1,000 held-out images; at the
            end on all.
        batch_size: Images in a step.
        learning_rate: Adamax's, the largest.
        momentum: Of the moving average of the weights.
    """
    data = np.load(images)
    train, held_out = data["train"], data["held_out"]
    trainee = make()
    facts: dict[str, float] = {}

    def bits(count: int) -> np.ndarray:
        trainee.swap()
        rng = np.random.default_rng(0)
        nats = [
            trainee.negative_log_likelihood(_dequantized(part, rng))
            for part in np.split(held_out[:count], range(_EVALUATED, count, _EVALUATED))
        ]
        trainee.swap()
        return _as_bits(np.concatenate(nats), held_out)

    def call() -> float:
        batches = _batches(train, batch_size)
        trainee.step(next(batches), 0.0)  # traces, and initialises what needs data
        points, spent, number, losses = [], 0.0, 0, []
        seconds = 60 * cpu_minutes
        while spent < seconds:
            started = time.process_time()
            part = spent / seconds
            rate = (
                learning_rate * min(20 * part, 1) * 0.5 * (1 + math.cos(np.pi * part))
            )
            losses.append(trainee.step(next(batches), rate))
            number += 1
            trainee.average(min(momentum, number / (number + 10)))
            spent += time.process_time() - started
            if not math.isfinite(losses[-1]):
                break
            if spent >= seconds * (len(points) + 1) / num_points:
                last = len(points) + 1 >= num_points
                found = bits(len(held_out) if last else min(1000, len(held_out)))
                point = {
                    "cpu_minutes": spent / 60,
                    "steps": number,
                    "train": float(_as_bits(np.mean(losses), train)),
                    "held_out": float(found.mean()),
                    "standard_error": float(found.std(ddof=1) / math.sqrt(len(found))),
                }
                points.append(point)
                losses = []
                Path(curve).write_text(json.dumps(points, indent=1))
        facts.update(steps=number, seconds_a_step=spent / number)
        return points[-1]["held_out"]

    return Subject(call, 0, trainee.num_parameters, lambda: facts)


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
