"""Generated stubs of the contract `runtap.v1`; made by `make proto`, never edited."""
