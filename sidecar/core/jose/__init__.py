"""JOSE: keys, compact serialisation, client assertions."""
