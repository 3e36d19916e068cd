"""Many clients in one process, each of which asks again as soon as it has an answer.

    python clients.py TASK.json RESULT.npz

A task is `{"port": ..., "path": ..., "seconds": ..., "groups": [...]}`, a group
`{"num_clients": ..., "bodies": [...], "expected": [...]}`: bodies are JSON, used in
turn, expected the predictions that belong to each. Every answer is compared with these,
after the time is up. Prints a line when the connections stand.
"""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator

import numpy as np
from raw_http import Answer, Closed, exchange, post

REFUSED, DROPPED = 0, -1
"""In place of a status: no connection, and no answer to a request."""

CONNECTIONS_AT_ONCE = 50  # a server may queue no more than its backlog
TIMEOUT = 60.0


class Client:
    """One connection, made anew where the server closed it."""

    def __init__(self, port: int) -> None:
        """Will connect to a port of this machine."""
        self._port = port
        self._streams = None

    async def connect(self) -> None:
        """Opens a connection."""
        self._streams = await asyncio.open_connection("127.0.0.1", self._port)

    async def ask(self, request: bytes) -> Answer:
        """Sends a request and waits for the answer."""
        try:
            if self._streams is None:
                await self.connect()
        except OSError:
            return Answer(REFUSED, b"", True)
        try:
            async with asyncio.timeout(TIMEOUT):
                answer = await exchange(*self._streams, request)
        except (Closed, TimeoutError):
            answer = Answer(DROPPED, b"", True)
        if answer.closes:
            self.close()
        return answer

    def close(self) -> None:
        """Closes the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def keep_asking(
    client: Client, requests: list[bytes], numbers: Iterator[int], end: float
) -> list[tuple]:
    """Asks until the time is up, or nobody listens.

    Returns:
        Rows: number of the request, when it was sent, seconds until the answer, status,
        body of the answer.
    """
    rows = []
    status = None
    while status != REFUSED and (sent := time.monotonic()) < end:
        number = next(numbers) % len(requests)
        status, body, _ = await client.ask(requests[number])
        rows.append((number, sent, time.monotonic() - sent, status, body))
    client.close()
    return rows


async def run(task: dict) -> list[list[tuple]]:
    """Does a task; returns the rows of each group."""
    jobs, sizes = [], []
    for group in task["groups"]:
        requests = [post(task["path"], body.encode()) for body in group["bodies"]]
        numbers = itertools.count()
        sizes.append(group["num_clients"])
        jobs += [(Client(task["port"]), requests, numbers) for _ in range(sizes[-1])]
    for start in range(0, len(jobs), CONNECTIONS_AT_ONCE):
        some = jobs[start : start + CONNECTIONS_AT_ONCE]
        await asyncio.gather(*(client.connect() for client, *_ in some))
    print("connected", flush=True)
    end = time.monotonic() + task["seconds"]
    rows = iter(await asyncio.gather(*(keep_asking(*job, end) for job in jobs)))
    flat = itertools.chain.from_iterable
    return [list(flat(itertools.islice(rows, size))) for size in sizes]


def compare(answer: bytes, expected: object) -> tuple[float, int]:
    """How far an answer is from what was expected.

    Returns:
        The largest difference, and how many numbers differ; infinity where it is no
        answer of that form.
    """
    try:
        found = np.asarray(json.loads(answer)["predictions"][0], np.float64)
    except (LookupError, TypeError, ValueError):
        return np.inf, 1
    expected = np.asarray(expected, np.float64)
    if found.shape != expected.shape or np.isnan(found).any():
        return np.inf, 1
    difference = np.abs(found - expected)
    return difference.max(), np.count_nonzero(difference)


def main() -> None:
    """Does the task that the command line names."""
    with open(sys.argv[1], encoding="utf-8") as file:
        task = json.load(file)
    columns = {}
    for i, rows in enumerate(asyncio.run(run(task))):
        expected = task["groups"][i]["expected"]
        number, sent, seconds, status, answers = zip(*rows, strict=True)
        compared = [
            compare(answer, expected[n]) if s == 200 else (0.0, 0)
            for n, s, answer in zip(number, status, answers, strict=True)
        ]
        largest, differing = zip(*compared, strict=True)
        for name, column in {
            "sent": sent,
            "seconds": seconds,
            "status": status,
            "largest": largest,
            "differing": differing,
        }.items():
            columns[f"{i}/{name}"] = column
    np.savez(sys.argv[2], **columns)


if __name__ == "__main__":
    main()
