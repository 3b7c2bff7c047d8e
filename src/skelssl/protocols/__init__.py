"""Protocols judge an encoder by what others can do with its features. They know encoders, never methods."""
