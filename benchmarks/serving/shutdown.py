"""Is a request lost when the server ends, and how soon is it back after a kill?

SIGTERM while 50 clients ask for `log_prob` and 10 for `sample`, each on a connection
that stays open. What was sent before must be answered, or be told that the server ends
(503). Who asks later is answered, told so, or finds the connection closed; and who
connects anew is refused. Last SIGKILL under the same load, and the same command again.

    python benchmarks/serving/shutdown.py [--model DIR]
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from clients import DROPPED, REFUSED
from digits_model import model_folder
from figures import Figures, make_parser, verdict
from server_process import serve
from traffic import Group, Load, groups_of

NUM_CLIENTS = {"log_prob": 50, "sample": 10}
OUTCOMES = {"answered": 200, "503": 503, "closed": DROPPED, "refused": REFUSED}
RESTART = 20.0


def terminate(
    folder: Path, path: str, crowd: Sequence[Group], seconds: float
) -> tuple[int, float, np.ndarray, np.ndarray]:
    """Ends a server under load.

    Returns:
        Exit status, seconds until then, and the statuses of requests that were under
        way at the signal and of those that were sent later.
    """
    with serve(folder) as server:
        load = Load(server.port, path, crowd, seconds + 60.0)
        time.sleep(seconds)
        signalled = time.monotonic()
        status = server.terminate()
        ended = time.monotonic() - signalled
        rows = load.rows()
    statuses, sent, took = (
        np.concatenate([of[column] for of in rows])
        for column in ("status", "sent", "seconds")
    )
    under_way = (sent < signalled) & (sent + took >= signalled)
    return status, ended, statuses[under_way], statuses[sent >= signalled]


def seconds_to_restart(
    folder: Path, path: str, crowd: Sequence[Group], seconds: float
) -> float:
    """Kills a server under load; until its successor has answered as many clients."""
    with serve(folder) as server:
        load = Load(server.port, path, crowd, seconds + 60.0)
        time.sleep(seconds)
        server.kill()
        load.rows()
    killed = time.monotonic()
    with serve(folder, port=server.port):
        rows = Load(server.port, path, crowd, 1.0).rows()
    answers = [(of["sent"] + of["seconds"])[of["status"] == 200].min() for of in rows]
    return max(answers) - killed


def count(statuses: np.ndarray) -> list[int]:
    """How often there was each outcome, and another."""
    known = [*OUTCOMES.values()]
    counts = [int(np.count_nonzero(statuses == status)) for status in known]
    return [*counts, len(statuses) - sum(counts)]


def main() -> int:
    """Ends servers, prints the tables; 1 where an aim was not reached."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="servers that are ended")
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="of load before that"
    )
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds = 1, 1.0
    figures = Figures()
    with model_folder(arguments) as folder:
        path, groups = groups_of(folder)
        crowd = [replace(groups[of], num_clients=n) for of, n in NUM_CLIENTS.items()]
        ends = [
            terminate(folder, path, crowd, arguments.seconds)
            for _ in range(arguments.rounds)
        ]
        restart = seconds_to_restart(folder, path, crowd, arguments.seconds)
    exits, seconds, under_way, later = zip(*ends, strict=True)
    under_way, later = np.concatenate(under_way), np.concatenate(later)
    figures.table(
        ["requests", *OUTCOMES, "otherwise"],
        [
            ["sent before SIGTERM, not answered then", *count(under_way)],
            ["sent later", *count(later)],
        ],
    )
    lost = int(np.count_nonzero(~np.isin(under_way, [200, 503])))
    refused = int(np.count_nonzero(later == REFUSED))
    clients = arguments.rounds * sum(NUM_CLIENTS.values())
    figures.verdicts(
        [
            verdict(
                f"sent before SIGTERM and lost, of {len(under_way):,}",
                lost,
                "0",
                reached=lost == 0,
            ),
            verdict(
                "clients refused in the end",
                refused,
                clients,
                reached=refused == clients,
            ),
            verdict("exit status", {*exits}, "{0}", reached={*exits} == {0}),
            verdict("until it has ended, s", max(seconds), "", reached=True),
            verdict(
                "from kill -9 to the first answers, s",
                restart,
                f"at most {RESTART:g}",
                reached=restart <= RESTART,
            ),
        ]
    )
    return figures.report("shutdown", write=arguments.write)


if __name__ == "__main__":
    sys.exit(main())
