"""Preparation on Ray Data."""
