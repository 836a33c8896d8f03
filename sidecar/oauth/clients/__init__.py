"""Client authentication, and the limits on failed authentication."""
