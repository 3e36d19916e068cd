"""A training on the device: its state, its steps, and what it is worth."""

import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .exported import compile_program, load_program
from .images import batches

__all__ = ["Training", "learning_rate"]

Arrays = dict[str, Any]


def learning_rate(step: int, recipe: Mapping[str, Any], total_steps: int) -> float:
    """Adamax's rate in a step: a linear warm-up, then a cosine or nothing more.

    Args:
        step: Number of the step, from 0.
        recipe: `learning_rate`, `warmup_steps` and `decay`.
        total_steps: Steps of the whole training, of which at most half are warm-up.
    """
    warmup = min(recipe["warmup_steps"], total_steps // 2)
    if step < warmup:
        return recipe["learning_rate"] * step / warmup
    if recipe["decay"] == "constant":
        return recipe["learning_rate"]
    done = min((step - warmup) / (total_steps - warmup), 1.0)
    return recipe["learning_rate"] * 0.5 * (1 + math.cos(math.pi * done))


class Training:
    """The programs of a bundle, compiled, and variables and images on the device.

    Attributes:
        step: Steps made so far.
        compile_seconds: How long each program took to compile, or to come out of the
            cache of compiled programs.
    """

    def __init__(
        self, folder: Path, manifest: Mapping[str, Any], images: np.ndarray
    ) -> None:
        """Loads programs and images. `compile` is next; there is no state yet.

        Args:
            folder: The bundle.
            manifest: What its `manifest.json` holds.
            images: The training images, `uint8` `[N, H, W, C]`.
        """
        self.manifest = manifest
        self.step = 0
        self.variables: Arrays = {}
        self.compile_seconds: dict[str, float] = {}
        self._images = jax.device_put(images)
        self._programs = {
            name: load_program(folder, description, jax.default_backend())
            for name, description in manifest["programs"].items()
        }
        self._compiled: dict[str, Any] = {}

    def compile(self) -> None:
        """Compiles all programs, side by side."""
        manifest = self.manifest

        def like(shape: Sequence[int], dtype: str) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(tuple(shape), jnp.dtype(dtype))

        def batches_like(num_steps: int) -> tuple:
            shape = (num_steps, manifest["recipe"]["batch_size"])
            return self._images, like(shape, "int32"), like(shape, "bool")

        num_steps = manifest["steps_a_call"]
        evaluated = (manifest["evaluation_batch"], *manifest["image_shape"])
        variables = {
            name: like(v["shape"], v["dtype"])
            for name, v in manifest["variables"].items()
        }
        arguments = {
            "initial": (variables, *batches_like(1)),
            "train": (
                variables,
                *batches_like(num_steps),
                like([num_steps], "float32"),
            ),
            "evaluate": (
                {name: variables[name] for name in manifest["weights"]},
                like(evaluated, "uint8"),
                like([2], "int32"),
            ),
        }
        functions = {
            "initial": self._initial,
            "train": self._train,
            "evaluate": self._evaluate,
        }

        def compile_one(name: str) -> None:
            started = time.monotonic()
            # Who evaluates needs the weights again.
            donated = () if name == "evaluate" else (0,)
            self._compiled[name] = compile_program(
                functions[name], *arguments[name], donated=donated
            )
            self.compile_seconds[name] = time.monotonic() - started

        with ThreadPoolExecutor() as pool:
            list(pool.map(compile_one, functions))

    def initialize(self) -> None:
        """New weights, whose act-norms standardise the first batch."""
        zeros = {
            name: jnp.zeros(v["shape"], v["dtype"])
            for name, v in self.manifest["variables"].items()
        }
        self.variables = self._compiled["initial"](
            zeros, self._images, *self._batches(1)
        )

    def restore(self, step: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Goes on from what `state` returned."""
        self.step = step
        self.variables = {
            name: jax.device_put(arrays[name].astype(v["dtype"]))
            for name, v in self.manifest["variables"].items()
        }

    def state(self) -> dict[str, np.ndarray]:
        """Everything that training goes on from, to the last bit."""
        return jax.device_get(self.variables)

    def weights(self, *, averaged: bool) -> Arrays:
        """The model's weights by their names, on the device.

        Args:
            averaged: Whether the moving averages, of those that have one.
        """
        averages = self.manifest["averages"] if averaged and self.step else {}
        return {
            name: self.variables[averages.get(name, name)]
            for name in self.manifest["weights"]
        }

    @property
    def kernels(self) -> list[str]:
        """Names of all that is large: kernels, their averages and Adamax's."""
        variables = self.manifest["variables"]
        return [name for name, value in variables.items() if value["is_kernel"]]

    def take_steps(self, rates: Sequence[float]) -> np.ndarray:
        """Makes as many steps as a call has.

        Args:
            rates: Adamax's rate in each.

        Returns:
            Bits/dim and norm of the gradient of each, float32 `[S, 2]`.
        """
        rates = np.asarray(rates, np.float32)
        rows, self.variables = self._compiled["train"](
            self.variables, self._images, *self._batches(len(rates)), rates
        )
        self.step += len(rates)
        return np.asarray(rows)

    def bits_per_dim(
        self, images: np.ndarray, weights: Arrays, num_noise_samples: int = 1
    ) -> np.ndarray:
        """Bits/dim of images as `tfp-glow evaluate` measures them, with seed 0.

        Args:
            images: `uint8` `[N, H, W, C]`.
            weights: What `weights` returned, on the device or not.
            num_noise_samples: Draws of noise, whose probabilities are averaged.

        Returns:
            `[N]`.
        """
        size, num_dims = self.manifest["evaluation_batch"], math.prod(images.shape[1:])
        weights = jax.device_put(weights)
        found = []
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            # The noise of the first ones is the same whatever follows.
            numbers = np.minimum(np.arange(size), len(batch) - 1)
            seeds = [start * num_noise_samples + i for i in range(num_noise_samples)]
            draws = [
                self._compiled["evaluate"](weights, batch[numbers], np.int32([0, seed]))
                for seed in seeds
            ]
            found.append([draw[: len(batch)] for draw in draws])
        bits = np.concatenate([np.asarray(draws) for draws in found], axis=1)
        log_probs = -bits.astype(np.float64) * num_dims  # in bits, [K, N]
        most = log_probs.max(axis=0)
        mean = np.exp2(log_probs - most).mean(axis=0)
        return -(most + np.log2(mean)) / num_dims

    def _batches(self, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
        recipe = self.manifest["recipe"]
        indices, flips = batches(
            self.step,
            num_steps,
            num_images=len(self._images),
            batch_size=recipe["batch_size"],
            seed=self.manifest["seed"],
        )
        return indices, flips & recipe["flips"]

    def _initial(self, variables: Arrays, *chosen: Any) -> Arrays:
        arguments = {
            "images": _batch(*chosen)[0],
            "seed": jnp.int32(self.manifest["seed"]),
        }
        return self._programs["initial"](arguments, variables)[1]

    def _train(
        self, variables: Arrays, images: Any, indices: Any, flips: Any, rates: Any
    ) -> tuple[Any, Arrays]:
        images = _batch(images, indices, flips)
        arguments = {"images": images, "learning_rates": rates}
        (rows,), variables = self._programs["train"](arguments, variables)
        return rows, variables

    def _evaluate(self, variables: Arrays, images: Any, seed: Any) -> Any:
        arguments = {"images": images, "seed": seed}
        return self._programs["evaluate"](arguments, variables)[0][0]


def _batch(images: Any, indices: Any, flips: Any) -> Any:
    """Images of numbers `[S, B]`, some of them mirrored: `[S, B, H, W, C]`."""
    chosen = images[indices]
    return jnp.where(flips[..., None, None, None], chosen[..., ::-1, :], chosen)
