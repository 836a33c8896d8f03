"""HTTP: what header fields, targets, cookies and methods mean."""
