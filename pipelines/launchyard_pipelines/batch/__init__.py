"""Batch prediction."""
