"""Timing in one process: the best of several rounds in which the contestants take turns."""

from __future__ import annotations

import json
import os
import pathlib
import platform
import resource
import subprocess
import time
from collections.abc import Callable

import jax


def alternate(contestants: dict[str, Callable[[], object]], rounds: int = 3) -> dict[str, float]:
    """Time every contestant once a round, after a first call each that compiles; returns the best seconds.

    Taking turns lets a machine whose speed drifts drift for all alike.
    """
    for contestant in contestants.values():
        jax.block_until_ready(contestant())
    best = dict.fromkeys(contestants, float("inf"))
    for _ in range(rounds):
        for name, contestant in contestants.items():
            started = time.perf_counter()
            jax.block_until_ready(contestant())
            best[name] = min(best[name], time.perf_counter() - started)
    return best


def machine() -> str:
    """Name the machine, as every figure must."""
    model = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    device = jax.devices()[0]
    return f"{os.cpu_count()} x {model}, {device.platform} {device.device_kind}, jax {jax.__version__}"


def resident_gib() -> float:
    """Largest resident memory of this process so far, without what it inherited from the one that started it."""
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        # The kernel's own high-water mark begins anew with a program; `ru_maxrss` takes its parent's along.
        (peak,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts in bytes, others in KiB.
    return peak / (2**30 if platform.system() == "Darwin" else 2**20)


def in_fresh_process(command: list[str]) -> dict[str, float]:
    """Run a command that prints one JSON object, and give it; bytecode is kept, as it is for any installed package."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])
