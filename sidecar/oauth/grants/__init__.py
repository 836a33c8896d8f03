"""The grant types that need more than the token endpoint itself, one module for each."""
