"""`python -m runtapd`: how a starter runs the daemon without relying on PATH."""

from runtapd.cli import main

raise SystemExit(main())
