"""Who a client is, and how often it may fail to show that."""
