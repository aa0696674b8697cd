"""A node takes the descriptors that it may have, and gives back what a crowd of connections left in its memory."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys

import pytest

from party_node.daemon import crowd

LIMITS = """
import resource
from party_node.daemon.crowd import use_all_descriptors
resource.setrlimit(resource.RLIMIT_NOFILE, (256, {hard}))
use_all_descriptors()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_the_soft_limit_becomes_the_hard_one_and_a_low_one_is_told() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    high = 8192 if hard in (-1, resource.RLIM_INFINITY) else min(hard, 8192)
    for most, told in ((high, high < crowd.FEW_DESCRIPTORS), (512, True)):
        command = [sys.executable, "-c", LIMITS.format(hard=most)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert f"{most} {most}" in done.stdout
        assert ("few descriptors" in done.stdout + done.stderr) == told


async def test_memory_goes_back_while_there_is_a_crowd_and_once_after(monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed: list[int] = []
    monkeypatch.setattr(crowd, "LOOK_S", 0.05)
    monkeypatch.setattr(crowd, "CROWD", len(os.listdir("/proc/self/fd")) + 50)
    monkeypatch.setattr(crowd, "trim", lambda: trimmed.append(1))
    tidying = crowd.Tidying()
    await asyncio.sleep(0.3)
    assert trimmed == []
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(100)]
    await asyncio.sleep(0.3)
    assert len(trimmed) >= 2
    for one in held:
        os.close(one)
    await asyncio.sleep(0.2)
    after = len(trimmed)
    await asyncio.sleep(0.3)
    assert len(trimmed) == after
    tidying.end()


def test_trimming_does_no_harm() -> None:
    kept = [bytes(1000) for _ in range(1000)]
    crowd.trim()
    assert all(one == bytes(1000) for one in kept)
