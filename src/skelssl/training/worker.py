"""``python -m skelssl.training.worker RUN``: one rank of a run, started by `launch.supervise`.

It reads RUN/config.yaml alone.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from skelssl.core.errors import Stopped, UserError
from skelssl.core.sentences import MISTAKES, sentence
from skelssl.runtime.ranks import launched_rank
from skelssl.training.loop import train_rank


def main() -> None:
    """Train as one rank, and report an error to the parent process."""
    folder = Path(sys.argv[1])
    stop_with_parent(os.getppid())
    try:
        if (me := launched_rank()) is None:
            raise UserError(f"{folder}: found no rank's environment, expected python -m skelssl.train trainer=ddp")
        train_rank(folder, me)
    except MISTAKES as error:
        _end(UserError(sentence(error, None)), UserError.exit_code)
    except Stopped as error:
        _end(error, Stopped.exit_code)
    except BaseException as error:  # the parent prints it once, not every rank
        _end(error, 1)


def stop_with_parent(parent: int) -> None:
    """Send this rank a SIGTERM once its parent process is gone, so that it saves its state and ends."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _end(error: BaseException, code: int) -> NoReturn:
    get_error_handler().record_exception(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # an ordinary exit may wait for collectives that will never come


if __name__ == "__main__":
    main()
