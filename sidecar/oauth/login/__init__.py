"""The user at a browser: passwords, sessions, consent, and the pages."""
