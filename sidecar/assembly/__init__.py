"""Builds the parts of a worker and joins them."""
