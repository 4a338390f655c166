"""What happens to every call before and after its service, in this order from the outside in.

    answers.py     turns whatever goes wrong into a rich status, and writes one access log line
    token.py       lets in only who knows this daemon's token
    admission.py   lets in only while the daemon serves, and only so much per client

`enclosing.py` is the one place that knows gRPC's four shapes of a handler.
"""

from runtapd.interceptors.admission import Admission
from runtapd.interceptors.answers import Answers
from runtapd.interceptors.token import TokenCheck

__all__ = ["Admission", "Answers", "TokenCheck"]
