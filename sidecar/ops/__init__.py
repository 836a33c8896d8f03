"""What operators see: listeners to `core.events` (`metrics`, `logs`), and the admin endpoints (`admin`)."""
