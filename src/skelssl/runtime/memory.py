"""Keep the memory that a step frees in the process, so that the next step need not request it again."""

from __future__ import annotations

import ctypes
import os
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h of glibc
GIVEN = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


def keep_pages() -> bool:
    """Tell glibc to keep freed blocks; return whether it does so now.

    By default a block of more than 32 MB returns to the system when it is freed, and each page of the next one is
    zeroed by the kernel when it is first touched: for activations on a CPU, again in every step. Nothing is done under
    another C library, nor where the environment already says how memory is to be kept.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in GIVEN):
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(M_MMAP_MAX, 0)) and bool(libc.mallopt(M_TRIM_THRESHOLD, -1))
