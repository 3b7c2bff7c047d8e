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
from skelssl.core.runs import load_config
from skelssl.core.sentences import MISTAKES, sentence
from skelssl.runtime.ranks import joined, place
from skelssl.training.loop import run


def main() -> None:
    """Trains, and tells the parent why where that does not end well."""
    follow(os.getppid())
    try:
        rank(Path(sys.argv[1]))
    except MISTAKES as error:
        _end(UserError(sentence(error, None)), UserError.exit_code)
    except Stopped as error:
        _end(error, Stopped.exit_code)
    except BaseException as error:  # the parent prints it once, not every rank
        _end(error, 1)


def rank(folder: Path) -> None:
    """This rank's part of the run."""
    here, config = place(), load_config(folder)
    if here is None:
        raise UserError(f"{folder}: found no rank's environment, expected python -m skelssl.train trainer=ddp")
    with joined(here, config["trainer"]):
        run(config, folder, here)


def follow(parent: int) -> None:
    """A rank whose parent was killed saves and ends as if it had been asked to."""

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
