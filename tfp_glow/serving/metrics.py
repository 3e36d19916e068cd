"""What Prometheus reads of the server at `/metrics`, beside KServe's own."""

import time
from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram

__all__ = ["BATCH_ROWS", "QUEUE_ROWS", "REQUESTS", "SECONDS", "observe"]

REQUESTS = Counter(
    "tfp_glow_requests",
    "Requests by what they got; an unknown model or signature is empty",
    ["model", "signature", "protocol", "code"],
)
SECONDS = Histogram(
    "tfp_glow_request_seconds",
    "From the request's head to the answer's",
    ["model", "signature"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
)
BATCH_ROWS = Histogram(
    "tfp_glow_batch_rows",
    "Rows computed at once, without those that fill up",
    ["model", "signature"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
QUEUE_ROWS = Gauge("tfp_glow_queue_rows", "Rows that wait", ["model", "version"])


def observe(labels: Mapping[str, str], code: int, started: float) -> None:
    """Counts an answer and the time it took.

    Args:
        labels: `model`, `signature` and `protocol`; the first two are empty where the
            request names none that is served.
        code: Status of HTTP, or what it would be.
        started: When the request came, by `time.perf_counter`.
    """
    REQUESTS.labels(**labels, code=str(code)).inc()
    seconds = time.perf_counter() - started
    SECONDS.labels(labels["model"], labels["signature"]).observe(seconds)
