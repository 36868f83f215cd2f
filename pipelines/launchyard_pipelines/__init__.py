"""Launchyard on Kubeflow Pipelines and Ray Train."""
