"""Pages of freed memory are used again: counted by the faults of a process of its own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from skelssl.runtime.memory import GIVEN

COUNT = """
import resource, sys
from skelssl.runtime.memory import keep_pages
kept = sys.argv[1] == "keep" and keep_pages()
for _ in range(2):
    bytearray(1 << 26)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    bytearray(1 << 26)
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(choice: str, **more: str) -> list[int]:
    environment = {name: value for name, value in os.environ.items() if name not in GIVEN} | more
    command = [sys.executable, "-c", COUNT, choice]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [int(number) for number in done.stdout.split()]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_a_second_block_costs_no_page() -> None:
    kept, few = faults("keep")
    _, many = faults("give back")
    assert kept
    assert few < many / 10


def test_what_the_environment_says_stands() -> None:
    assert faults("keep", MALLOC_MMAP_MAX_="65536")[0] == 0
