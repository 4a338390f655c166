"""`python -m runtap`: the command line."""

from runtap.cli.main import main

main()
