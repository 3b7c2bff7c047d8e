"""Parse the arguments of the commands that Hydra does not start."""

from __future__ import annotations

import argparse
from typing import NoReturn

from skelssl.core.errors import UserError


class CommandParser(argparse.ArgumentParser):
    """The argument parser of ``skelssl COMMAND``, which raises a UserError instead of printing its usage.

    Args:
        command: its name.
        about: the help text.
        expected: its positional arguments, for the error message.
    """

    def __init__(self, command: str, about: str, expected: str) -> None:
        super().__init__(
            prog=f"skelssl {command}",
            description=about,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.command, self.expected = command, expected

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.command}: {message}, expected {self.expected} and options as --help lists them")
