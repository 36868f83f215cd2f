"""The training harness that kinds share: batches, optimisation, checkpoints, resume."""
