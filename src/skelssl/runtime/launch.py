"""Start and supervise the ranks of a run on one machine.

Lightning starts none: its child process would run the whole command again, with its sweep. Instead, torch's process
launcher starts ``python -m skelssl.training.worker RUN`` once per rank, and the run folder has all that a rank needs.
Under torchrun and srun the process already is a rank.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch.distributed as dist
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, PContext, start_processes
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from skelssl.core.errors import RankError, Stopped, UserError
from skelssl.runtime.signals import Signals

RESUME_HINT = "the same command resumes from its last checkpoint"


def supervise(folder: Path, world: int) -> None:
    """Train the run in ``folder`` on ``world`` ranks of this machine, and return when all have finished.

    Signals reach every rank; the ranks save their state and end, then the handler set before gets the signal.

    Raises:
        UserError: for a mistake that a rank found.
        RankError: for a rank that was killed or failed.
        Stopped: after a signal.
    """
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # RankError below reports it
    signals, interrupt = Signals(), signal.getsignal(signal.SIGINT)
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    with TemporaryDirectory() as logs:
        context = start_processes(
            "rank", sys.executable, dict.fromkeys(range(world), ("-m", "skelssl.training.worker", str(folder))),
            _environments(world, store.port), DefaultLogsSpecs(log_dir=logs),
        )  # fmt: skip
        signals.listen(lambda number: _tell(context, number))
        signal.signal(signal.SIGINT, interrupt)
        try:
            result = context.wait(period=0.1)
        finally:
            context.close()
            number = signals.number
            signals.restore()
        assert result is not None
        try:
            _check(result.failures, world, folder)
        except (Stopped, RankError):
            if number:
                signals.hand_on(number, f"{folder}: {RESUME_HINT}")
            raise


def _environments(world: int, port: int) -> dict[int, dict[str, str]]:
    """Return what torchrun sets; the store is the parent's, so no other process can take the port in between."""
    threads = os.environ.get("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // world, 1)))
    common = {
        "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "GROUP_RANK": 0, "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "skelssl", "TORCHELASTIC_USE_AGENT_STORE": True,
        "OMP_NUM_THREADS": threads,
    }  # fmt: skip
    own = [{**common, "RANK": rank, "LOCAL_RANK": rank} for rank in range(world)]
    return {rank: {key: str(value) for key, value in env.items()} for rank, env in enumerate(own)}


def _tell(context: PContext, number: int) -> None:
    for pid in context.pids().values():
        try:
            os.kill(pid, number)
        except ProcessLookupError:  # it has just ended
            continue


def _check(failures: Mapping[int, ProcessFailure], world: int, folder: Path) -> None:
    """Raise the error of the rank that failed first; the others only lost their peer."""
    if not failures:
        return
    first = min(failures.values(), key=_guilt)
    message, trace = _recorded(first)
    for error in (UserError, Stopped):
        if first.exitcode == error.exit_code:
            raise error(message.partition(": ")[2])
    if first.exitcode < 0:
        name = signal.Signals(-first.exitcode).name
        raise RankError(f"rank {first.local_rank} of {world} was killed by {name}; {folder}: {RESUME_HINT}")
    print(trace, file=sys.stderr)
    raise RankError(f"rank {first.local_rank} of {world} failed ({message}); {folder}: {RESUME_HINT}")


def _guilt(failure: ProcessFailure) -> tuple[int, int, int]:
    """Return a sort key, smallest for the rank that made the others fail: killed, else in error, else ended by us."""
    by_parent = failure.exitcode == -signal.SIGTERM
    return (2 if by_parent else int(failure.exitcode > 0), failure.timestamp, failure.local_rank)


def _recorded(failure: ProcessFailure) -> tuple[str, str]:
    """Return the error that a rank recorded, and its traceback."""
    record: Any = failure.message
    return (record["message"], record["extraInfo"]["py_callstack"]) if isinstance(record, Mapping) else (record, "")
