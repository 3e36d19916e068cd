"""Does anything that a client may send bring the server down, or out of its folder?

Thousands of malformed requests (`malformed.py`, `malformed_grpc.py`) and what
schemathesis makes of the server's own description; among them right ones, whose answers
are compared. Answers must be 4xx, or 200 where a request is right after all, and none
5xx; memory must stay flat; and, where strace is installed, no file may be opened but
those of the models and of Python.

    python benchmarks/serving/fuzz.py [--schemathesis PROGRAM]
"""

import argparse
import asyncio
import collections
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
from clients import compare
from digits_model import model_folder
from figures import Figures, make_parser, verdict
from malformed import KINDS, Case, Target, cases
from malformed_grpc import FINE, grpc_cases
from raw_http import Answer, Closed, exchange, post, read_answer
from server_process import free_port, serve
from traffic import Group, groups_of

AT_ONCE = 8
PATIENCE = 30.0
"""Seconds for an answer."""

NAP = 0.2
"""Seconds until a client that says no more goes away."""

ENDLESS = 1024
"""Pieces after which a server should have had enough of a body: 64 MiB."""

GOOD_EVERY = 20
GROWTH = 0.05

SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/lib/", "/usr/share/", "/lib/")
"""Where the C library and Python look for their own."""


@dataclass
class Result:
    """What became of the requests.

    Attributes:
        outcomes: How often each answer came, by kind.
        failures: What should not have been: kind, answer, and how the request begins.
    """

    outcomes: dict[str, collections.Counter] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, kind: str, outcome: object, request: bytes, *, fine: bool) -> None:
        """Counts one."""
        self.outcomes.setdefault(kind, collections.Counter())[str(outcome)] += 1
        if not fine:
            self.failures.append(f"{kind}: {outcome} to {request[:2000]!r}")

    @property
    def total(self) -> int:
        """How many were counted."""
        return sum(counter.total() for counter in self.outcomes.values())


async def send(port: int, case: Case) -> Answer | None:
    """Sends a case on a connection of its own.

    Returns:
        The answer; None where the connection was closed.

    Raises:
        TimeoutError: If there is none.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(NAP if case.stalls else PATIENCE):
            if not case.endless:
                return await exchange(reader, writer, case.request)
            answer = asyncio.ensure_future(read_answer(reader))
            writer.write(case.request)
            for _ in range(ENDLESS):
                if answer.done():
                    break
                with contextlib.suppress(ConnectionError):
                    writer.write(case.endless)
                    await writer.drain()
                await asyncio.sleep(0)
            else:
                answer.cancel()
                raise TimeoutError
            return await answer
    except Closed:
        return None
    finally:
        writer.close()


async def send_all(
    port: int, target: Target, good: Group, some: Iterable[tuple[str, Case]]
) -> Result:
    """Sends all, a few at the same time, and right ones among them."""
    result = Result()
    numbered = enumerate(some)

    async def work() -> None:
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

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return result


def judge(case: Case, answer: Answer | None) -> bool:
    """Whether a server may answer so."""
    if answer is None:
        return case.may_close
    return 400 <= answer.status < 500 or (case.may_pass and answer.status == 200)


async def send_all_grpc(
    port: int, target: Target, count: int, seed: int, result: Result
) -> None:
    """Sends messages over gRPC, and to its port also what is no HTTP/2."""
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        for kind, method, message, may_pass in grpc_cases(target, count, seed):
            call = channel.unary_unary(method)  # bytes as they are
            try:
                await call(message, timeout=PATIENCE)
                outcome, fine = "answered", may_pass
            except grpc.aio.AioRpcError as error:
                outcome, fine = error.code().name, error.code() in FINE
            result.add(kind, outcome, message, fine=fine)
    for _, case in cases(target, len(KINDS), seed):
        with contextlib.suppress(TimeoutError):
            await send(port, Case(case.request, stalls=True))
        result.add("gRPC: no HTTP/2", "sent", case.request, fine=True)


def run_schemathesis(program: str, port: int, name: str, num_examples: int) -> str:
    """Sends what the description of the server allows, and what it does not.

    Args:
        program: schemathesis.
        port: Of the server.
        name: Of a model that is served: made-up names get no further than 404.
        num_examples: Of each operation.

    Returns:
        `"no failure"`, or what was found.
    """
    command = [program, "run", f"http://127.0.0.1:{port}/openapi.json", "--no-color"]
    command += ["--checks", "not_a_server_error", "--seed", "0"]
    command += ["--max-examples", str(num_examples)]
    served = f'[parameters]\n"path.name" = {json.dumps(name)}\n"path.version" = "1"\n'
    with tempfile.TemporaryDirectory() as folder:  # for what it keeps
        Path(folder, "schemathesis.toml").write_text(served, encoding="utf-8")
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, cwd=folder
            )
        except FileNotFoundError:
            return f"{program} is not there: pip install schemathesis"
    printed = done.stdout + done.stderr
    print(printed, file=sys.stderr)
    if done.returncode != 0:
        return printed.strip().splitlines()[-1]
    if missing := re.search("Missing test data.*", printed):
        return missing[0]
    return "no failure"


def strace(log: Path) -> list[str]:
    """A command that starts another and notes what it opens; [] without it."""
    program = shutil.which("strace")
    if program is None:
        return []
    # -D: as a grandchild, so that the process that was started is the server's.
    calls = "trace=open,openat,openat2,creat"
    return [program, "-D", "-f", "--seccomp-bpf", "-qq", "-e", calls, "-o", str(log)]


def opened_outside(lines: Iterable[str], folder: Path) -> set[str]:
    """Files in strace's log with which a server of a folder has no business."""
    python = {sys.prefix, sys.base_prefix, str(Path(__file__).parents[2] / "tfp_glow")}
    allowed = (*SYSTEM, *(f"{path}/" for path in [*python, folder]))
    found = set()
    for line in lines:
        if match := re.search(r'(?:open|openat|openat2|creat)\([^"]*"([^"]*)"', line):
            path = os.path.normpath(match[1])
            if path != str(folder) and not path.startswith(allowed):
                found.add(path)
    return found


def main() -> int:
    """Sends all, prints the tables; 1 where an aim was not reached."""
    parser = make_parser(__doc__)
    parser.add_argument("--count", type=int, default=6000, help="malformed bodies")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-examples", type=int, default=100, help="of schemathesis")
    parser.add_argument("--schemathesis", default="schemathesis", metavar="PROGRAM")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.count, arguments.max_examples = 300, 3
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(model_folder(arguments)).resolve()
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory())).resolve()
        figures = fuzz(folder, scratch, arguments)
    return figures.report("fuzz", write=arguments.write)


def fuzz(folder: Path, scratch: Path, arguments: argparse.Namespace) -> Figures:
    """Starts a server of a folder and sends all to it."""
    figures = Figures()
    path, groups = groups_of(folder)
    name = path.removeprefix("/v1/models/").removesuffix(":predict")
    # What a name or a version that leads out of the folder could reach.
    outside = shutil.copytree(
        next(folder.glob("*/*")), scratch / "outside" / "1"
    ).parent
    target = Target(name, np.shape(groups["sample"].expected[0]), str(outside))
    trace = scratch / "opened.txt"
    grpc_port = free_port()
    with serve(folder, "--grpc-port", str(grpc_port), before=strace(trace)) as server:
        already = trace.stat().st_size if trace.exists() else None
        results, megabytes = [], []
        # What comes the first time only (threads, arenas, caches) is no growth.
        for seed in (arguments.seed, arguments.seed + 1):
            count = arguments.count // 2
            some = cases(target, count, seed)
            result = asyncio.run(
                send_all(server.port, target, groups["log_prob"], some)
            )
            asyncio.run(send_all_grpc(grpc_port, target, count // 10, seed, result))
            results.append(result)
            megabytes.append(server.resident_megabytes())
        found = run_schemathesis(
            arguments.schemathesis, server.port, name, arguments.max_examples
        )
        lives = server.process.poll() is None and server.answers("/v2/health/ready")
        status = server.terminate() if lives else server.process.poll()
    outcomes = {}
    for result in results:
        for kind, counter in result.outcomes.items():
            outcomes.setdefault(kind, collections.Counter()).update(counter)
    figures.table(
        ["requests", "answers"],
        [
            [kind, ", ".join(f"{n:,} x {of}" for of, n in counter.most_common())]
            for kind, counter in outcomes.items()
        ],
    )
    failures = [failure for result in results for failure in result.failures]
    for failure in failures:
        print(failure, file=sys.stderr)
    growth = megabytes[1] / megabytes[0] - 1
    total = sum(result.total for result in results)
    rows = [
        verdict(
            f"not as they should, of {total:,}",
            len(failures),
            "0",
            reached=not failures,
        ),
        verdict("schemathesis", found, "no failure", reached=found == "no failure"),
        verdict(
            "lives, and ends with status", status, "0", reached=lives and status == 0
        ),
        verdict(
            "growth of memory in the second half",
            f"{growth:.1%}",
            f"at most {GROWTH:.0%}",
            reached=growth <= GROWTH,
        ),
    ]
    opened = ["not watched: there is no strace"]
    if already is not None:
        with trace.open(errors="replace") as file:
            file.seek(already)
            opened = sorted(opened_outside(file, folder))
    rows.append(
        verdict(
            "files opened outside",
            ", ".join(opened) or "none",
            "none",
            reached=not opened,
        )
    )
    figures.verdicts(rows)
    return figures


if __name__ == "__main__":
    sys.exit(main())
