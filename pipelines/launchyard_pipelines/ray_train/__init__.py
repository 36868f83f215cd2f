"""Training and search on Ray Train and Ray Tune."""
