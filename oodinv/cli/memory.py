"""How the C library hands out memory while a command runs."""

import ctypes
import os
import sys
from contextlib import suppress

_M_ARENA_MAX = -8  # glibc's <malloc.h>


def use_one_heap() -> None:
    """Has all threads take memory from one heap, where the C library is glibc; to be called before they start.

    By default each thread has a heap of its own and keeps what its largest photo once needed: with threads that read
    and others that write, a run's memory grows with the number of photos that it has seen. A MALLOC_ARENA_MAX in the
    environment is left to count.
    """
    if sys.platform != "linux" or "MALLOC_ARENA_MAX" in os.environ:
        return
    with suppress(AttributeError):  # other C libraries have no such call, nor heaps of threads
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
