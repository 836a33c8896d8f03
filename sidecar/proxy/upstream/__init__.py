"""The side of the API."""
