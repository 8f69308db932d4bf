"""Settings of the C library's memory allocator."""

import ctypes
import os
import sys
from contextlib import suppress

_M_ARENA_MAX = -8  # glibc's <malloc.h>


def use_one_heap() -> None:
    """Makes all threads allocate from one heap (glibc only). Call it before starting threads.

    By default each thread has its own heap, which never shrinks below the needs of its largest photo, so that memory
    grows with the number of photos. An environment variable MALLOC_ARENA_MAX takes precedence.
    """
    if sys.platform != "linux" or "MALLOC_ARENA_MAX" in os.environ:
        return
    with suppress(AttributeError):  # other C libraries have neither this call nor heaps per thread
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
