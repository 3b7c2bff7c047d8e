"""Encoders: complete clips (N, C, T, V, M) -> features (N, D). An encoder does not depend on any loss."""
