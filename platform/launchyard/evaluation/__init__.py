"""Measure a model, decide about it, and write down both."""
