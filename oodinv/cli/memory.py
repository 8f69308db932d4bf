"""Settings of the C library's memory allocator."""

import ctypes
import os
import sys
from contextlib import suppress

# Parameters of mallopt in glibc's <malloc.h>, the environment variables that set them too, and our values.
_SETTINGS = (
    (-8, "MALLOC_ARENA_MAX", 1),
    (-4, "MALLOC_MMAP_MAX_", 0),
    (-1, "MALLOC_TRIM_THRESHOLD_", 1 << 30),
)


def tune_allocator() -> None:
    """Makes all threads allocate from one heap that keeps 1 GiB of freed memory (glibc only). Call it before threads.

    By default each thread has its own heap, which never shrinks below the needs of its largest photo, so that memory
    grows with the number of photos; and large tensors get new pages from the system each time, which more than doubles
    the processor time of a 1024 px picture (`bench/generator.py`). Environment variables take precedence.
    """
    if sys.platform != "linux":
        return
    with suppress(AttributeError):  # other C libraries have neither this call nor heaps per thread
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, variable, value in _SETTINGS:
            if variable not in os.environ:
                mallopt(parameter, value)
