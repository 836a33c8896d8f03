"""The operator's view: handlers of `core.events` (`metrics`, `logs`), and the admin endpoints (`admin`)."""
