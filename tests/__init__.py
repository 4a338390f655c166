"""The tests of runtap; `CONTRIBUTING.md` says what they hold to."""
