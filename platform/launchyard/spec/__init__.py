"""The product spec: what a user writes in ``product.yaml``."""
