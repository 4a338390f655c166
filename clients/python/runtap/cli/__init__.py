"""The command line `runtap`. Talks to the daemon by RPC only; each command's module is imported when it runs."""
