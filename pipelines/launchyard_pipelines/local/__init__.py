"""Runs on a laptop."""
