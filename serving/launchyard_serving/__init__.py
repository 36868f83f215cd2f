"""Launchyard on Ray Serve."""
