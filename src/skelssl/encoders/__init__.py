"""Encoders: whole clips (N, C, T, V, M) -> features (N, D). They know no loss."""
