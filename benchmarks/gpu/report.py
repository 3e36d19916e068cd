"""How calls are timed, and what is said about them, whoever makes them."""

import statistics
import time
from collections.abc import Callable

WARM_UP = 2  # calls that do not count

# Size of the square matrices whose product measures how fast a device can multiply.
MATRIX_SIZE = {"gpu": 8192, "cpu": 1024}
NUM_PRODUCTS = 20


def median_seconds(call: Callable[[], None], num_calls: int) -> float:
    """Median time of a call, which returns when the device is done."""
    seconds = []
    for _ in range(WARM_UP + num_calls):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[WARM_UP:])


def matrix_rate(multiply: Callable[[], None], size: int) -> float:
    """Operations a second of `NUM_PRODUCTS` products of square matrices."""
    return NUM_PRODUCTS * 2 * size**3 / median_seconds(multiply, 5)


def summary(
    *,
    call_seconds: float,
    num_steps: int,
    batch_size: int,
    convolution_flops: int,
    rate: float,
) -> dict[str, float]:
    """What the time of a call says about the device's use.

    Args:
        call_seconds: Time of a call.
        num_steps: Steps in a call.
        batch_size: Images in a step.
        convolution_flops: What a step's convolutions need at least. To rebuild
            activations, as reversible memory does, takes time and does not count.
        rate: The device's own, in bfloat16 operations a second.
    """
    achieved = convolution_flops * num_steps / call_seconds
    return {
        "milliseconds_a_step": 1e3 * call_seconds / num_steps,
        "images_a_second": batch_size * num_steps / call_seconds,
        "convolution_teraflops": achieved / 1e12,
        "matrix_teraflops": rate / 1e12,
        "share_of_matrix_rate": achieved / rate,
    }
