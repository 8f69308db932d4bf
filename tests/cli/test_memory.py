"""One heap for all threads of a command, by glibc's own count."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

COUNT = """
import ctypes, sys, threading
from oodinv.cli.memory import tune_allocator
if sys.argv[2] == "one":
    tune_allocator()
c = ctypes.CDLL(None)
c.malloc.restype = c.fopen.restype = ctypes.c_void_p
both = threading.Barrier(3)
def take():
    c.malloc(5000)
    both.wait()
    both.wait()
for _ in range(2):
    threading.Thread(target=take).start()
both.wait()
file = ctypes.c_void_p(c.fopen(sys.argv[1].encode(), b"w"))
c.malloc_info(0, file)
c.fclose(file)
both.wait()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="counts the heaps of glibc")
@pytest.mark.parametrize(("setting", "count"), [("one", 1), ("default", 3)])
def test_threads_share_one_heap(setting: str, count: int, tmp_path: Path) -> None:
    report = tmp_path / "heaps.xml"
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    subprocess.run([sys.executable, "-c", COUNT, str(report), setting], check=True, env=environment)
    assert len(re.findall("<heap nr=", report.read_text())) == count


FAULTS = """
import ctypes, resource, sys
from oodinv.cli.memory import tune_allocator
if sys.argv[1] == "tuned":
    tune_allocator()
c = ctypes.CDLL(None)
c.malloc.restype, c.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def fill():
    address = c.malloc(64 << 20)
    ctypes.memset(address, 1, 64 << 20)
    c.free(address)
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_freed_memory_of_large_tensors_is_used_again() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    run = [sys.executable, "-c", FAULTS]
    faults = {
        setting: int(subprocess.run([*run, setting], check=True, env=environment, capture_output=True).stdout)
        for setting in ("tuned", "default")
    }
    assert faults["tuned"] < 100 < faults["default"]
