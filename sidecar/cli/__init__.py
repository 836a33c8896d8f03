"""The command line: a module per noun. The commands parse and print; what they do is done elsewhere."""

from sidecar.cli.root import main as main
