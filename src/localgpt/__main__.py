"""`python -m localgpt`: the command line."""

from localgpt.cli.main import run

if __name__ == "__main__":
    run()
