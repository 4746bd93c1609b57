"""Freed memory goes back to the operating system. `benchmarks/demo_load.py` measures the memory of the demo."""

import subprocess
import sys

import pytest

from mmsent.demo import memory

# Blocks below the threshold from which glibc maps each block alone, of which every 16th stays in use.
FRAGMENTS = """
import ctypes
import runpy
import sys

release_memory = runpy.run_path(sys.argv[1])["release_memory"]  # without the package, which is slow to import

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
blocks = [libc.malloc(16_384) for _ in range(8_000)]
for block in blocks:
    ctypes.memset(block, 1, 16_384)
for number, block in enumerate(blocks):
    if number % 16:
        libc.free(block)
before = resident()
release_memory()
print(before - resident())
"""


@pytest.mark.skipif(memory._GLIBC is None, reason="needs glibc")
def test_freed_memory_is_given_back():
    command = [sys.executable, "-c", FRAGMENTS, memory.__file__]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) > 80  # of 125 MiB
