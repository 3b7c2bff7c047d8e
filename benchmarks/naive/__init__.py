"""The naive baselines: what the papers write, line by line. Slow, and good as oracles."""
