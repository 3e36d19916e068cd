"""How many requests a second, how long does each take, and is every answer right?

200 clients ask for `log_prob` and 50 more for `sample`, one row a request, all at once;
then 50 clients for either alone. Asked are `tfp-glow serve`, the same without batching,
and the least that serves a SavedModel (`bare_server.py`). Every answer is compared with
what the SavedModel answers in this process. The clients are a process that shares the
cores with the server.

    python benchmarks/serving/load.py [--model DIR]
"""

import contextlib
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from digits_model import model_folder
from figures import Figures, make_parser, verdict
from server_process import ServerProcess, serve, serve_bare
from traffic import Group, Load, Rows, groups_of

ON, OFF, BARE = "batching", "no batching", "bare FastAPI"
SERVERS: dict[str, Callable[[Path], ServerProcess]] = {
    ON: lambda folder: serve(folder),
    OFF: lambda folder: serve(folder, "--no-batching"),
    BARE: serve_bare,
}
NUM_CLIENTS = {"log_prob": 200, "sample": 50}
"""That ask together."""

FEW = 50
"""That ask alone."""

SPEEDS = ["requests/s", "p50, ms", "p95, ms", "p99, ms"]
OUTCOMES = ["requests", "errors", "lost", "wrong"]

Found = dict[str, float]
"""Figures by name."""


def figures_of(rows: Rows, group: Group) -> Found:
    """What became of a group's requests."""
    status, sent, seconds = rows["status"], rows["sent"], rows["seconds"]
    answered = seconds[status == 200]
    percentiles = [np.nan] * 3
    if len(answered):
        percentiles = 1e3 * np.percentile(answered, [50, 95, 99])
    rate = len(answered) / ((sent + seconds).max() - sent.min())
    return {
        "requests": len(status),
        "errors": int(np.count_nonzero((status > 0) & (status != 200))),
        "lost": int(np.count_nonzero(status <= 0)),
        "wrong": int(np.count_nonzero(rows["largest"] > group.tolerance)),
        **dict(zip(SPEEDS, [rate, *percentiles], strict=True)),
        "largest": float(rows["largest"].max()),
        "differing": int(rows["differing"].sum()),
        "numbers": len(answered) * np.size(group.expected[0]),
    }


def measure(
    server: ServerProcess, path: str, groups: dict[str, Group], seconds: float
) -> dict[str, Found]:
    """Lets groups ask a server at the same time."""
    rows = Load(server.port, path, list(groups.values()), seconds).rows()
    found = {
        of: figures_of(one, group)
        for (of, group), one in zip(groups.items(), rows, strict=True)
    }
    print(found, file=sys.stderr)
    return found


def ratios(rates: dict[tuple[str, str], float]) -> list[list]:
    """Rows on what batching is worth."""
    rows = []
    for of in NUM_CLIENTS:
        ratio = rates[ON, of] / rates[OFF, of]
        what = f"{of} requests/s of {FEW} clients, {ON} / {OFF}"
        rows.append(verdict(what, f"{ratio:.2f}x", "at least 2x", reached=ratio >= 2))
    return rows


def outcomes(found: dict[str, list[Found]], groups: dict[str, Group]) -> list[list]:
    """Rows on whether every request was answered, and right."""
    every = [one for of in found.values() for one in of]
    rows = []
    for column in OUTCOMES[1:]:
        count = sum(one[column] for one in every)
        rows.append(verdict(f"requests: {column}", count, "0", reached=count == 0))
    largest = max(one["largest"] for one in found["log_prob"])
    tolerance = groups["log_prob"].tolerance
    rows.append(
        verdict(
            "log_prob, largest difference in nats",
            f"{largest:.2g}",
            f"at most {tolerance:.2g}",
            reached=largest <= tolerance,
        )
    )
    differing, numbers = (
        sum(one[column] for one in found["sample"])
        for column in ("differing", "numbers")
    )
    largest = max(one["largest"] for one in found["sample"])
    rows.append(
        verdict(
            f"pixels one level off, of {numbers:,}",
            differing,
            "only one level",
            reached=largest <= groups["sample"].tolerance,
        )
    )
    return rows


def main() -> int:
    """Measures, prints the tables; 1 where an aim was not reached."""
    parser = make_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="all at once")
    parser.add_argument("--rounds", type=int, default=3, help="of the clients alone")
    parser.add_argument("--round-seconds", type=float, default=5.0, help="each")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seconds, arguments.rounds, arguments.round_seconds = 2.0, 1, 1.0
    figures = Figures()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(model_folder(arguments))
        path, groups = groups_of(folder)
        servers = {
            name: stack.enter_context(start(folder)) for name, start in SERVERS.items()
        }
        crowd = {
            of: replace(groups[of], num_clients=n) for of, n in NUM_CLIENTS.items()
        }
        together = {
            name: measure(server, path, crowd, arguments.seconds)
            for name, server in servers.items()
        }
        # In turn: what else the machine does then meets all alike.
        alone = {(name, of): [] for of in groups for name in servers}
        for of, group in groups.items():
            few = {of: replace(group, num_clients=FEW)}
            for _ in range(arguments.rounds):
                for name, server in servers.items():
                    found = measure(server, path, few, arguments.round_seconds)
                    alone[name, of].append(found[of])
    columns = OUTCOMES + SPEEDS
    figures.table(
        ["all at once", "signature", "clients", *columns],
        [
            [name, of, NUM_CLIENTS[of], *(found[column] for column in columns)]
            for name, by_signature in together.items()
            for of, found in by_signature.items()
        ],
    )
    medians = {
        key: {column: statistics.median(r[column] for r in runs) for column in SPEEDS}
        for key, runs in alone.items()
    }
    figures.table(
        ["alone", "signature", "clients", *SPEEDS],
        [[*key, FEW, *found.values()] for key, found in medians.items()],
    )
    by_signature = {
        of: [together[name][of] for name in servers]
        + [run for name in servers for run in alone[name, of]]
        for of in groups
    }
    rates = {key: found["requests/s"] for key, found in medians.items()}
    figures.verdicts(ratios(rates) + outcomes(by_signature, groups))
    return figures.report("load", write=arguments.write)


if __name__ == "__main__":
    sys.exit(main())
