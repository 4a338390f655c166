"""``python -m runtap_local``."""

from .program.cli import main

if __name__ == "__main__":
    main()
