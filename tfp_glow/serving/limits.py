"""What one request, and all together, may ask of the server."""

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """Bounds on requests; see `tfp-glow serve --help`.

    Attributes:
        max_rows: Rows (images, samples) of one request.
        max_bytes: Bytes of one request's body.
        max_queue: Rows that may wait for a model; with more, a request is refused.
        max_batch: Rows that are computed at once; longer requests are split.
        seconds: Time within which a request is answered or given up.
        batching: Whether requests are put together.
    """

    max_rows: int = 256
    max_bytes: int = 8 * 2**20
    max_queue: int = 1024
    max_batch: int = 32
    seconds: float = 30.0
    batching: bool = True

    @property
    def max_bytes_together(self) -> int:
        """Bytes of the bodies that are in memory at any time."""
        return 16 * self.max_bytes

    @property
    def batch_sizes(self) -> list[int]:
        """Numbers of rows that a model sees: powers of two, and the largest batch.

        A batch is filled up to the next of them, so that a model meets only sizes that
        it has met when it was warmed up. One row is none of them: alone, it would not
        get the answer that it gets among others, to the last bit.

        Example:
            >>> Limits(max_batch=20).batch_sizes
            [2, 4, 8, 16, 20]
        """
        sizes = [2]
        while 2 * sizes[-1] <= self.max_batch:
            sizes.append(2 * sizes[-1])
        if sizes[-1] < self.max_batch:
            sizes.append(self.max_batch)
        return sizes
