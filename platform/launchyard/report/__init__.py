"""The launch report: one self-contained HTML file."""
