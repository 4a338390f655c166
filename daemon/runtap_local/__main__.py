"""``python -m runtap_local``."""

from .cli import main

if __name__ == "__main__":
    main()
