"""What a piece of work costs, whatever else goes on."""

import math
import time
from collections.abc import Callable


def least_seconds(work: Callable[[], object], times: int = 3) -> float:
    """Seconds of the processor that *work* takes in this thread: the least of so many runs.

    The others had the garbage of the whole run collected in the middle of them, or shared their core with somebody.
    """
    least = math.inf
    for _ in range(times):
        began = time.thread_time()
        work()
        least = min(least, time.thread_time() - began)
    return least
