"""Pictures: self-contained HTML pages of runs and comparisons. They are given arrays and rows, and gather nothing."""
