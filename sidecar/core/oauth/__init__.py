"""OAuth: clients, users, grants, redirect URIs."""
