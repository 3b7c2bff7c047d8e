"""The documentation site: ``make docs`` builds it into ``docs/_build/html``."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "skelssl"
author = "the skelssl authors"
language = "en"
smartquotes = False

extensions = ["myst_parser", "sphinx.ext.autodoc", "site_pages"]
exclude_patterns = ["_build", "_ext"]
html_theme = "furo"
html_math_renderer = "mathml"
html_title = "skelssl"
html_show_copyright = False

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # what torch and Lightning say of their own hooks is theirs
autodoc_typehints_format = "short"
