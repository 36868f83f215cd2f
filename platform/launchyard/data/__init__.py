"""Data preparation: checks, duplicates, splits, redaction, profile, fingerprint."""
