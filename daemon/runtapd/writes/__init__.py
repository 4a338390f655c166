"""Write-back: accepted writes on their way to the server, one worker per run, until they are settled."""

from runtapd.writes.queue import Writes
from runtapd.writes.worker import RecordSink, UpstreamProvider

__all__ = ["RecordSink", "UpstreamProvider", "Writes"]
