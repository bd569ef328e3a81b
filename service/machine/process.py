"""Process-wide settings: core dumps, file permissions, heap behaviour and the logging of libraries."""

import ctypes
import logging
import os
import resource
import warnings

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # glibc's numbers for these mallopt parameters
LARGE_ARRAY_BYTES = 8 * 2**20  # smaller than a BraTS volume; smaller arrays are better reused
VERBOSE_LIBRARIES = "nibabel.global", "pydicom", "python_multipart.multipart"  # they log values of headers


def disable_core_dumps() -> None:
    """Disable core dumps: they would write patient data to disk."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def make_new_files_private() -> None:
    """Create every file with access for the service's user only."""
    os.umask(0o077)


def limit_heap_growth() -> None:
    """Make glibc, if it is the allocator, return unused memory to the system; call this before any thread starts.

    By default, glibc raises its mmap threshold to 32 MiB over time and keeps freed volumes (about 300 MiB) for reuse,
    and it gives threads separate arenas, whose free memory other threads cannot use.
    """
    if hasattr(allocator := ctypes.CDLL(None), "mallopt"):
        allocator.mallopt(M_MMAP_THRESHOLD, LARGE_ARRAY_BYTES)
        allocator.mallopt(M_ARENA_MAX, 1)


def return_freed_memory() -> None:
    """Return free memory in glibc's arena to the operating system; otherwise the process would grow over many cases."""
    if hasattr(allocator := ctypes.CDLL(None), "malloc_trim"):
        allocator.malloc_trim(0)


def silence_libraries() -> None:
    """Prevent libraries from logging values that a client sent."""
    for name in VERBOSE_LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module="pydicom")
