"""Sections of the run page, one file each: a function takes the run and returns the section.

The figures themselves are drawn in ``skelssl.pages.figures``, which takes arrays.
"""
