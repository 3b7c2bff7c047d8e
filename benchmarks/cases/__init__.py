"""The methods as the suite measures them: one file each, our form and the naive baseline."""
