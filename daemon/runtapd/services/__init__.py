"""One file per proto service: parse the request, call what knows the answer, convert it back.

Beside them `status.py` (fault to status), `calls.py` (what a call brings along), `unbuilt.py` (RPCs to come) and
`vitals.py` (what `DaemonService` asks the rest of the daemon).
"""
