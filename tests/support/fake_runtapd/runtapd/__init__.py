"""A double of the daemon's program for tests of starting it; put before the real one by PYTHONPATH."""
