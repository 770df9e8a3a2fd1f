"""Machine instructions of updates and of steps, counted by valgrind's callgrind: cost that no neighbour can disturb.

Where ATen operations do not tell (a kernel became slower, Python does more around it), these
do. All cases are counted in one process, for most of the time goes into importing torch under
an emulated processor: some minutes. Where there is no valgrind they are skipped.

The emulator knows no AVX-512, so neither do the chains that are compiled for it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from suite.benchmarks.cases import UPDATES

STEPS = ("sgd", "momentum", "adam")  # of lanes
CASES = (*(f"update {name}" for name in UPDATES), *(f"digits_mlp x 16 {name}" for name in STEPS))
PARAMETERS, LANES = 10_000, 16
REPEATS = 100  # steps counted: what Python does once in a while is a small share of them
WARMUP = 20  # steps until Python has settled on how it executes them
TIMEOUT = 1500  # seconds for all cases, on a busy machine
COMPILER = "cc -mno-avx512f"  # for chains that the emulator can run


class Instructions:
    """What the processor executes."""

    params = CASES
    param_names = ("case",)
    timeout = TIMEOUT + 60.0

    def setup_cache(self) -> dict[str, float]:
        """Count all cases; none where that cannot be done."""
        return {} if missing() else counted(CASES)

    def setup(self, counts: dict[str, float], case: str) -> None:
        """Skipped, with the reason, where there is no count."""
        if case not in counts:
            raise NotImplementedError(missing() or f"{case} is not known to this version")

    def track_instructions(self, counts: dict[str, float], case: str) -> float:
        """Instructions of one update of 10,000 parameters, or of one step of 16 lanes."""
        return counts[case]

    track_instructions.unit = "instructions"  # type: ignore[attr-defined]  # asv reads it there


def missing() -> str:
    """What counting lacks here, or nothing."""
    import torch

    if shutil.which("valgrind") is None:
        return "no valgrind"
    return "" if torch._C._valgrind_supported_platform() else "torch was built without valgrind's toggles"


def counted(cases: tuple[str, ...]) -> dict[str, float]:
    """Instructions of each case, by a process of its own under callgrind.

    Raises:
        RuntimeError: that process failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [
            "valgrind", "--tool=callgrind", "--instr-atstart=no", "--collect-atstart=no",
            f"--callgrind-out-file={folder}/out", sys.executable, __file__, folder, *cases,
        ]  # fmt: skip
        ours = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "CC": COMPILER}
        done = subprocess.run(command, env=os.environ | ours, capture_output=True, text=True, timeout=TIMEOUT)
        if done.returncode:
            raise RuntimeError(f"callgrind: {done.stderr[-2000:]}")
        known = json.loads(Path(folder, "known").read_text())
        return {case: _total(Path(folder, f"out.{i}")) / REPEATS for i, case in enumerate(known, 1)}


def _total(file: Path) -> int:
    lines = [line for line in file.read_text().splitlines() if line.startswith(("totals:", "summary:"))]
    return int(lines[0].split(":")[1].split()[0])


def _count(folder: str, cases: list[str]) -> None:
    """Run each case with its instructions counted; for a process under callgrind."""
    import gc

    import torch

    from problems.names import UsageError
    from suite.benchmarks.cases import group, update

    torch.set_num_threads(1)
    subprocess.run(["callgrind_control", "--instr=on", str(os.getpid())], check=True)
    known = []
    for case in cases:
        what, _, name = case.rpartition(" ")
        try:
            lanes = update(name, PARAMETERS) if what == "update" else group(what.split()[0], name, LANES)
        except UsageError:  # a name that an older commit does not have
            continue
        for k in range(WARMUP):
            lanes.step(k)
        gc.collect()
        gc.disable()
        torch._C._valgrind_toggle()
        for k in range(WARMUP, WARMUP + REPEATS):
            lanes.step(k)
        torch._C._valgrind_toggle_and_dump_stats()
        gc.enable()
        known.append(case)
    Path(folder, "known").write_text(json.dumps(known))


if __name__ == "__main__":
    _count(sys.argv[1], sys.argv[2:])
