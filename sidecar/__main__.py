"""`python -m sidecar`."""

from sidecar.cli.commands import main

if __name__ == "__main__":
    main()
