"""What a grant type gives, a file for each that the token endpoint does not answer alone."""
