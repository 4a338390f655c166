"""`make bench`: runtap and the real client side by side, against the same server, in one run.

Prints two figures a row (from the first `Api()` call, imports behind it, and the whole process), ratios, request counts
and memory, and writes them with the machine's facts to `RESULTS.md` beside this file. No test asserts a time; this
shows them.
"""
