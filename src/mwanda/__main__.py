"""``python -m mwanda``."""

from mwanda.cli import main

if __name__ == "__main__":
    main()
