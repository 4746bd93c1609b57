"""Keep the memory of a server flat."""

import ctypes
import platform

_GLIBC = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def release_memory() -> None:
    """Give freed memory back to the operating system, after each request.

    glibc keeps what lies between blocks that are in use, in up to eight arenas per core: without this, a server that
    answers on many threads grows for minutes although it holds no more than before. Others do not need it.
    """
    if _GLIBC is not None:
        _GLIBC.malloc_trim(0)
