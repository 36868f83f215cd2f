"""Asking a released model: what is the same for the endpoint, batch prediction and evaluation."""
