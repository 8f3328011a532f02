"""`python -m vidpipe`: the command line."""

from vidpipe.cli.main import main

if __name__ == "__main__":
    main()
