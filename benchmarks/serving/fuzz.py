"""Does anything that a client may send bring the server down, or out of its folder?

Thousands of malformed requests (`malformed.py`) and what schemathesis makes of the server's
own description; among them right ones, whose answers are compared. Answers must be 4xx
(or 200 where a request is right after all), none 5xx; memory must stay flat; and, where
strace is installed, no file is opened outside the folder of models and of Python.

    python benchmarks/serving/fuzz.py [--schemathesis PROGRAM]
"""

import asyncio
import collections
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clients import compare
from figures import Figures, make_parser, verdict
from malformed import KINDS, Case, Target, cases
from raw_http import Answer, Closed, exchange, post, read_answer
from server_process import Group, ServerProcess, groups_of, model_folder, serve

AT_ONCE = 8
PATIENCE = 30.0
"""Seconds for an answer."""

NAP = 0.2
"""Seconds until a client that says no more goes away."""

ENDLESS = 256
"""Pieces after which a server should have had enough of a body: 16 MiB."""

GOOD_EVERY = 20
GROWTH = 0.05

SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/lib/", "/usr/share/", "/lib/")
"""Where the C library and Python look for their own."""


@dataclass
class Result:
    """What became of the requests.

    Attributes:
        outcomes: How often each answer came, by kind.
        failures: What should not have been: kind, answer, and the request's beginning.
    """

    outcomes: dict[str, collections.Counter] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, kind: str, outcome: object, request: bytes, *, fine: bool) -> None:
        """Counts one."""
        self.outcomes.setdefault(kind, collections.Counter())[outcome] += 1
        if not fine:
            self.failures.append(f"{kind}: {outcome} to {request[:2000]!r}")


async def send(port: int, case: Case) -> Answer | None:
    """Sends a case on a connection of its own; None where that is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        if not case.endless:
            wait = NAP if case.stalls else PATIENCE
            async with asyncio.timeout(wait):
                return await exchange(reader, writer, case.request)
        writer.write(case.request)
        answer = asyncio.ensure_future(read_answer(reader))
        for _ in range(ENDLESS):
            writer.write(case.endless)
            await asyncio.wait([answer, asyncio.ensure_future(writer.drain())], timeout=1)
            if answer.done():
                return answer.result()
        answer.cancel()
        raise TimeoutError
    except Closed:
        return None
    finally:
        writer.close()


def judge(case: Case, answer: Answer | None) -> bool:
    """Whether a server may answer so."""
    if answer is None:
        return case.may_close
    return 400 <= answer.status < 500 or (case.may_pass and answer.status == 200)


async def send_all(
    port: int, target: Target, good: Group, some: Iterable[tuple[str, Case]]
) -> Result:
    """Sends all, a few at the same time, and right ones among them."""
    result = Result()
    numbered = enumerate(some)

    async def worker() -> None:
        for number, (kind, case) in numbered:
            try:
                answer = await send(port, case)
                outcome = "closed" if answer is None else answer.status
                fine = judge(case, answer)
            except TimeoutError:
                outcome, fine = "waits", case.stalls
            result.add(kind, outcome, case.request, fine=fine)
            if number % GOOD_EVERY == 0:
                which = number % len(good.bodies)
                request = post(target.predict, good.bodies[which].encode())
                answer = await send(port, Case(request))
                difference, _ = compare(answer.body, good.expected[which])
                fine = difference <= good.tolerance
                result.add("right requests", answer.status, request, fine=fine)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return result
