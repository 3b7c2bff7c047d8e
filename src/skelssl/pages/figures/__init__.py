"""Draw figures and assemble self-contained HTML pages from arrays and rows; nothing here loads data or runs."""
