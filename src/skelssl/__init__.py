"""Self-supervised encoders of human skeleton motion."""
