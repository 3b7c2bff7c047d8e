"""The straightforward forms: what the papers write, line by line. Slow, and good as oracles."""
