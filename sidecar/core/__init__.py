"""The rules: pure functions and frozen values. Nothing here touches a socket, a clock, a file or a logger."""
