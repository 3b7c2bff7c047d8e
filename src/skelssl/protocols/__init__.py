"""Evaluate encoders: each protocol takes an encoder and a dataset, and knows nothing about pre-training methods."""
