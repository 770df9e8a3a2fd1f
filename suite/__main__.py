"""``python -m suite``."""

from suite.cli import cli

if __name__ == "__main__":
    cli(prog_name="python -m suite")
