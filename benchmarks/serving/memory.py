"""Does a server grow under load?

50 clients ask for `log_prob` and 10 more for `sample`, for ten minutes; the resident
memory of the server is read once a second. Its largest and its smallest value from the
first minute on are compared with that at the end of the first minute.

    python benchmarks/serving/memory.py [--model DIR]
"""

import sys
import time
from dataclasses import replace

import numpy as np
from digits_model import model_folder
from figures import Figures, make_parser, verdict
from server_process import serve
from traffic import Load, groups_of

NUM_CLIENTS = {"log_prob": 50, "sample": 10}
BOUND = 0.05
MINUTE = 60.0


def main() -> int:
    """Measures, prints the tables; 1 where it grew."""
    parser = make_parser(__doc__)
    parser.add_argument("--minutes", type=int, default=10, help="of load")
    arguments = parser.parse_args()
    minute = MINUTE
    if arguments.quick:
        arguments.minutes, minute = 3, 1.0
    figures = Figures()
    with model_folder(arguments) as folder:
        path, groups = groups_of(folder)
        crowd = [replace(groups[of], num_clients=n) for of, n in NUM_CLIENTS.items()]
        with serve(folder) as server:
            megabytes = [server.resident_megabytes()]
            load = Load(server.port, path, crowd, arguments.minutes * minute)
            started = time.monotonic()
            minutes = [0.0]
            while minutes[-1] < arguments.minutes:
                time.sleep(min(1.0, minute / 10))
                minutes.append((time.monotonic() - started) / minute)
                megabytes.append(server.resident_megabytes())
            status = np.concatenate([rows["status"] for rows in load.rows()])
    at = np.interp(range(arguments.minutes + 1), minutes, megabytes)
    figures.table(
        ["minute", *range(arguments.minutes + 1)], [["resident MB", *map(round, at)]]
    )
    loaded = np.array(megabytes)[np.array(minutes) >= 1]
    change = max(loaded.max() - at[1], at[1] - loaded.min()) / at[1]
    unanswered = int(np.count_nonzero(status != 200))
    figures.verdicts(
        [
            verdict(
                f"largest change from minute 1 to {arguments.minutes}",
                f"{change:.1%}",
                f"at most {BOUND:.0%}",
                reached=change <= BOUND,
            ),
            verdict(
                f"requests not answered, of {len(status):,}",
                unanswered,
                "0",
                reached=unanswered == 0,
            ),
        ]
    )
    return figures.report("memory", write=arguments.write)


if __name__ == "__main__":
    sys.exit(main())
