"""Views: ``view(batch, generator)`` -> encoder input (N·K, C, T', V, M), for the whole batch at once, on its device.

A view has no parameters. It draws every random number from the CPU generator it is given, so that a test can inject
them and all ranks can share them; with K > 1 clips per sample, those of one sample are adjacent.
"""
