"""What serves a product: pure rules, and the one place that applies them."""
