"""Published accuracies as Markdown, read from ``skelssl/results/published.yaml``."""

from __future__ import annotations

from skelssl.results.published import Published, published_cells

HOW_SURE = {
    "confirmed": "read in the authors' material",
    "second_hand": "second hand",
    "unverified": "from memory, not verified",
}


def table(method: str) -> str:
    """A pipe table of every cell of ``method``; raises ValueError where there is none."""
    cells = [cell for cell in published_cells() if cell.method == method]
    if not cells:
        raise ValueError(f"published: found no cell of {method!r}")
    head = ["| dataset | protocol | stream | setting | top-1 % | confidence | source |",
            "|---|---|---|---|--:|---|---|"]  # fmt: skip
    return "\n".join([*head, *map(_row, cells)])


def _row(cell: Published) -> str:
    columns = (f"`{cell.dataset}`", f"`{cell.protocol}`", cell.stream, cell.setting or "", f"{cell.value:.1f}",
               HOW_SURE[cell.status], cell.source)  # fmt: skip
    return f"| {' | '.join(columns)} |"
