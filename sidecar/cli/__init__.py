"""The command line: one module per noun. The commands only parse and print; other packages do the work."""

from sidecar.cli.root import main as main
