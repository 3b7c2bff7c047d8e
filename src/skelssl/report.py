"""Print one table of all results under some folders, with the published values beside them.

skelssl report outputs
skelssl report RUN --html report.html
"""

from __future__ import annotations

from skelssl.cli.app import run_plain


def main() -> None:
    """Run the command."""
    run_plain(_task)


def _task(argv: list[str]) -> None:
    from skelssl.cli.report import report_command

    report_command(argv, __doc__ or "")


if __name__ == "__main__":
    main()
