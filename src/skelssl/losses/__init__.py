"""Losses: tensors -> scalar (), reduced over all ranks where a loss needs the complete batch."""
