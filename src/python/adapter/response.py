"""`start_response` and the iterable, in the words of PEP 3333. Knows nothing of the sandbox."""

import re
import traceback
from collections import deque

# RFC 9110, 5.6.2.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_STATUS = re.compile(r"[2-9][0-9]{2} [^\x00-\x1f\x7f]*", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NOT_LATIN_1 = re.compile(r"[^\x00-\xff]")

# The server's own: wsgiref.util.is_hop_by_hop, and the names of the same kind that RFC 9110 and browsers know.
_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
    )
)


_HERE = __file__.rpartition("/")[0]


def check_text(what, text):
    if not isinstance(text, str):
        raise TypeError(f"{what} must be str, not {type(text).__name__}: {text!r}")
    wide = _NOT_LATIN_1.search(text)
    if wide:
        raise ValueError(f"{what} has a character beyond latin-1, {wide.group()!a}: {text!a}")


def check_status(status):
    """The code and the reason phrase of a status line such as "404 Not Found"."""
    check_text("the status", status)
    if not _STATUS.fullmatch(status):
        raise ValueError(
            "the status must be three digits from 200 up, a space and a reason without control characters,"
            f" not {status!r}"
        )
    return int(status[:3]), status[4:]


def check_headers(headers):
    """A copy of the headers, so that nothing the app does to its list later goes past the checks."""
    if not isinstance(headers, list):
        raise TypeError(f"the headers must be a list of (name, value) tuples, not {type(headers).__name__}")
    checked = []
    for header in headers:
        if not isinstance(header, tuple) or len(header) != 2:
            raise TypeError(f"a header must be a tuple of a name and a value, not {header!r}")
        name, value = header
        check_text("a header's name", name)
        check_text(f"the value of {name}", value)
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is no header name")
        if _CONTROL.search(value):
            raise ValueError(f"the value of {name} has a control character: {value!r}")
        if name.lower() in _HOP_BY_HOP:
            raise ValueError(f"{name} is hop-by-hop: it is the server's, not the app's")
        checked.append((name, value))
    return checked


def _check_block(block):
    if not isinstance(block, bytes):
        hint = "; encode it" if isinstance(block, str) else ""
        if isinstance(block, int):
            hint = "; return [body], not body"
        raise TypeError(f"the app's iterable must yield bytes, not {type(block).__name__}{hint}: {shorten(block)}")
    return block


def shorten(value):
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


class Exchange:
    """One call of the app: what it said so far, and what is still to come.

    `run` is the call up to the first block that is not empty, `next` every later block, `close` the end. The
    caller sends the head together with that first block, so until then an app may still change its mind.
    """

    def __init__(self, log):
        """`log` takes the text of an error that comes too late for anybody else to hear of."""
        self._log = log
        self._head = None
        self._head_is_sent = False
        self._blocks = deque()
        self._iterable = None
        self._iterator = None

    def start_response(self, status, headers, exc_info=None):
        try:
            if exc_info:
                if self._head_is_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            elif self._head is not None:
                raise AssertionError("start_response() was called before, and this time without exc_info")
            code, reason = check_status(status)
            self._head = (code, reason, check_headers(headers))
        finally:
            exc_info = None  # no cycle through the traceback
        return self._write

    def _write(self, data):
        if not isinstance(data, bytes):
            raise TypeError(f"write() takes bytes, not {type(data).__name__}")
        if data:
            self._head_is_sent = True
            self._blocks.append(data)

    def run(self, app, environ):
        """(code, reason, headers, body): the body as `bytes` if it is complete, else None: ask `next`."""
        try:
            self._iterable = app(environ, self.start_response)
            body = self._whole_body()
            if body is None:
                self._iterator = self._iterate()
                while not self._blocks and self._step():
                    pass
            if self._head is None:
                raise RuntimeError("the app did not call start_response()")
            self._head_is_sent = True
        except BaseException:
            self.close()
            raise
        if body is None and self._iterator is None:
            # It ended without ever yielding more than what is here.
            body = b"".join(self._blocks)
            self._blocks.clear()
        if body is not None:
            self.close()
        return (*self._head, body)

    def _whole_body(self):
        """The body if it is known to be one block: then iterating has no effect that the app could see."""
        if type(self._iterable) not in (list, tuple) or len(self._iterable) != 1 or self._blocks:
            return None
        return bytes(_check_block(self._iterable[0]))

    def _iterate(self):
        try:
            return iter(self._iterable)
        except TypeError:
            kind = type(self._iterable).__name__
            raise TypeError(f"the app must return an iterable of bytes, not {kind}: {shorten(self._iterable)}") from None

    def _step(self):
        """Asks the app for one block; False at the end."""
        try:
            block = _check_block(next(self._iterator))
        except StopIteration:
            self._iterator = None
            return False
        if block:
            if self._head is None:
                raise AssertionError("the app yielded a block before it called start_response()")
            self._blocks.append(bytes(block))
        return True

    def next(self):
        """The next block, or None at the end."""
        while not self._blocks:
            if self._iterator is None or not self._step():
                break
        return self._blocks.popleft() if self._blocks else None

    def close(self):
        """Closes what the app returned, once, whatever happened to it before."""
        iterable, self._iterable, self._iterator = self._iterable, None, None
        close = getattr(iterable, "close", None)
        if close is None:
            return
        try:
            close()
        except BaseException as error:
            self._log("the app's close() failed\n" + describe(error))


def describe(error):
    """The traceback as the app's author would see it: without the frames of the machinery around the app."""
    for link in _chain(error):
        link.__traceback__ = _without_machinery(link.__traceback__)
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


def _chain(error):
    seen = set()
    todo = [error]
    while todo:
        link = todo.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            yield link
            todo += (link.__cause__, link.__context__)


def _without_machinery(tb):
    kept = []
    while tb is not None:
        if tb.tb_frame.f_code.co_filename.rpartition("/")[0] != _HERE:
            kept.append(tb)
        tb = tb.tb_next
    following = None
    for tb in reversed(kept):
        tb.tb_next = following
        following = tb
    return following
