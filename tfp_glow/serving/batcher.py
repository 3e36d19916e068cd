"""Requests for one model, computed together."""

import asyncio
import os
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tfp_glow.serving import metrics
from tfp_glow.serving.limits import Limits
from tfp_glow.serving.refused import Refused

__all__ = ["Batcher"]

Arrays = Mapping[str, np.ndarray]


class _Model(Protocol):
    def run(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]: ...


@dataclass(eq=False)
class _Waiting:
    """Rows that wait to be computed: those of one request, or a part of them."""

    signature: str
    inputs: Arrays
    num_rows: int
    answer: asyncio.Future


class Batcher:
    """Puts the rows of concurrent requests together and hands each its answers.

    While TensorFlow computes, in a thread of its own, requests wait; what waits for the
    same signature is computed next, together. Nobody waits for a batch to fill: alone,
    a request is computed at once.

    Example:
        >>> class Doubler:
        ...     def run(self, signature, inputs):
        ...         print("rows:", len(inputs["x"]))
        ...         return {"y": 2 * inputs["x"]}
        >>> async def main():
        ...     batcher = Batcher(Doubler(), Limits(max_batch=4))
        ...     rows = [{"x": np.full([1], n)} for n in range(3)]
        ...     calls = [batcher.run("double", row) for row in rows]
        ...     answers = await asyncio.gather(*calls)
        ...     await batcher.close()
        ...     return [answer["y"].tolist() for answer in answers]
        >>> asyncio.run(main())
        rows: 4
        [[0], [2], [4]]
    """

    def __init__(
        self, model: _Model, limits: Limits, *, name: str = "", version: int = 1
    ) -> None:
        """Starts to wait for requests; needs a running event loop.

        Args:
            model: What computes.
            limits: How many rows may wait and be computed at once.
            name: Name of the model, for messages and metrics.
            version: Its version.
        """
        self._model = model
        self._limits = limits
        self._name = name
        self._version = version
        self._gauge = metrics.QUEUE_ROWS.labels(name, str(version))
        self._queue: deque[_Waiting] = deque()
        self._num_rows = 0  # in the queue
        self._wake = asyncio.Event()
        self._is_closing = False
        # Without batching TensorFlow computes as many requests at once as there are
        # cores.
        num_workers = 1 if limits.batching else os.cpu_count() or 1
        self._threads = ThreadPoolExecutor(num_workers, f"tensorflow-{name}")
        self._workers = [asyncio.create_task(self._work()) for _ in range(num_workers)]

    def check_room(self) -> None:
        """Refuses a request where no more may wait."""
        if self._num_rows >= self._limits.max_queue:
            raise Refused(
                f"Too many requests: {self._num_rows} rows wait for {self._name!r}. "
                "Try again in a second.",
                429,
            )

    async def run(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        """Answers the rows of a request, with those of others.

        If the caller is cancelled, its rows are not computed unless that has begun.

        Args:
            signature: Name of the signature.
            inputs: Arrays of as many rows each, checked.

        Returns:
            Arrays of as many rows.

        Raises:
            Refused: If too many rows wait, or the model refuses these.
        """
        self.check_room()
        size = self._limits.max_batch
        num_rows = len(next(iter(inputs.values())))
        parts = [
            {name: array[start : start + size] for name, array in inputs.items()}
            for start in range(0, num_rows, size)
        ]
        answers = [self._enqueue(signature, part) for part in parts]
        if len(answers) == 1:
            return await answers[0]
        try:
            outputs = await asyncio.gather(*answers)
        finally:
            for answer in answers:
                answer.cancel()  # where one failed, nobody waits for the others
        return _concatenate(outputs)

    async def close(self) -> None:
        """Answers what waits, and ends."""
        self._is_closing = True
        self._wake.set()
        await asyncio.gather(*self._workers)
        self._threads.shutdown(wait=False)
        with suppress(KeyError):
            metrics.QUEUE_ROWS.remove(self._name, str(self._version))

    def _enqueue(self, signature: str, inputs: Arrays) -> asyncio.Future:
        answer = asyncio.get_running_loop().create_future()
        num_rows = len(next(iter(inputs.values())))
        waiting = _Waiting(signature, inputs, num_rows, answer)
        self._queue.append(waiting)
        self._count(num_rows)
        answer.add_done_callback(lambda _: self._forget(waiting))
        self._wake.set()
        return answer

    def _forget(self, waiting: _Waiting) -> None:
        """Gives back the room of rows that were given up while they waited."""
        with suppress(ValueError):
            self._queue.remove(waiting)
            self._count(-waiting.num_rows)

    def _count(self, num_rows: int) -> None:
        self._num_rows += num_rows
        self._gauge.set(self._num_rows)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = self._take()
            if not batch:
                if self._is_closing:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            results = await loop.run_in_executor(self._threads, self._compute, batch)
            for waiting, result in zip(batch, results, strict=True):
                if waiting.answer.done():  # given up
                    continue
                if isinstance(result, Exception):
                    waiting.answer.set_exception(result)
                else:
                    waiting.answer.set_result(result)

    def _take(self) -> list[_Waiting]:
        """Takes what is computed next out of the queue: who came first, and mates."""
        batch: list[_Waiting] = []
        others: list[_Waiting] = []
        room = self._limits.max_batch
        while self._queue and room > 0:
            waiting = self._queue.popleft()
            if batch and (
                waiting.signature != batch[0].signature or waiting.num_rows > room
            ):
                others.append(waiting)
                continue
            self._count(-waiting.num_rows)
            if waiting.answer.done():  # given up
                continue
            batch.append(waiting)
            room = room - waiting.num_rows if self._limits.batching else 0
        self._queue.extendleft(reversed(others))
        return batch

    def _compute(self, batch: Sequence[_Waiting]) -> list[Arrays | Exception]:
        """Answers a batch, in a thread."""
        try:
            return self._compute_together(batch)
        except Exception as error:
            if len(batch) == 1:
                return [error]
        # One of them is to blame, and the others are to have their answers.
        return [self._compute([waiting])[0] for waiting in batch]

    def _compute_together(self, batch: Sequence[_Waiting]) -> list[Arrays]:
        inputs = _concatenate([waiting.inputs for waiting in batch])
        num_rows = sum(waiting.num_rows for waiting in batch)
        if self._limits.batching:
            size = next(s for s in self._limits.batch_sizes if s >= num_rows)
            inputs = {name: _filled_up(array, size) for name, array in inputs.items()}
        outputs = self._model.run(batch[0].signature, inputs)
        metrics.BATCH_ROWS.labels(self._name, batch[0].signature).observe(num_rows)
        parts, start = [], 0
        for waiting in batch:
            end = start + waiting.num_rows
            parts.append({name: array[start:end] for name, array in outputs.items()})
            start = end
        return parts


def _concatenate(parts: Sequence[Arrays]) -> dict[str, np.ndarray]:
    if len(parts) == 1:
        return dict(parts[0])
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _filled_up(array: np.ndarray, size: int) -> np.ndarray:
    """Rows and, behind them, copies of the last, which no model can refuse alone."""
    missing = size - len(array)
    if missing == 0:
        return array
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])
