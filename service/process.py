"""What a process of the service settles with the system: how much memory it keeps, and that none outlives it."""

import ctypes
import os
import resource

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # glibc's numbers for these parameters of mallopt
LARGE_ARRAY_BYTES = 8 * 2**20  # a volume of BraTS size is larger; smaller arrays are better reused


def forbid_core_dumps() -> None:
    """Have a crash leave no memory behind on a disk: there may be a patient's head in it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def keep_files_private() -> None:
    """Have every file that is made be readable by the user of the service alone."""
    os.umask(0o077)


def keep_heap_small() -> None:
    """Have glibc, where it is the allocator, hold little that is not in use; to be called before any thread starts.

    Left alone it raises its threshold to 32 MiB after a while, and keeps volumes, some 300 MiB of them, for reuse; and
    it gives each thread a heap of its own, whose unused pieces no other thread can have.
    """
    if hasattr(allocator := ctypes.CDLL(None), "mallopt"):
        allocator.mallopt(M_MMAP_THRESHOLD, LARGE_ARRAY_BYTES)
        allocator.mallopt(M_ARENA_MAX, 1)


def return_freed_memory() -> None:
    """Give back what smaller arrays have left unused in glibc's heaps; else these grow over many cases."""
    if hasattr(allocator := ctypes.CDLL(None), "malloc_trim"):
        allocator.malloc_trim(0)
