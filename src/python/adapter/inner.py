"""The app inside a middleware: a PEP 3333 callable around the application that the world imports.

What crosses: of the environ, the values that are `str`; the request body; the response. All else stays on this side.
"""

from http import HTTPStatus

from .environ import BOOLEANS
from .response import check_text
from .streams import Input

# The longest body that is passed on as bytes: any but the host's own, untouched one.
BODY_LIMIT = 16 << 20
# What one read of such a body asks for, in bytes.
_BLOCK = 1 << 16

_REASONS = {status.value: status.phrase for status in HTTPStatus}


class AppFailure(RuntimeError):
    """The app inside gave no response, or no whole one.

    `kind` is "exception", "timeout", "resource-limit" or "unavailable"; `detail` is for the log, and may be empty.
    Where nothing catches it, the failure goes on outward as what it is.
    """

    def __init__(self, kind, detail):
        super().__init__(f"the app inside failed ({kind}): {detail}" if detail else f"the app inside failed ({kind})")
        self.kind = kind
        self.detail = detail


class InnerApp:
    """The callable. `application` is the imported interface, `failure` what its functions raise."""

    def __init__(self, application, failure, blocks):
        self._application = application
        self._failure = failure
        self._blocks = blocks
        application.RequestBody_Bytes.value = _lent(blocks)
        self._kinds = {
            application.Failure_Exception: "exception",
            application.Failure_Timeout: "timeout",
            application.Failure_ResourceLimit: "resource-limit",
            application.Failure_Unavailable: "unavailable",
        }
        self._is_open = False
        self._responses = []

    def begin(self):
        """A request: from now on it may be called."""
        self._is_open = True

    def end(self):
        """The end of the request: closes what the middleware has left open."""
        self._is_open = False
        while self._responses:
            self._responses[-1].close()

    def __call__(self, environ, start_response):
        if not self._is_open:
            raise RuntimeError("the app inside can only be called while a request is served")
        application = self._application
        variables = _variables(environ)
        try:
            response = application.call(application.Environ(variables, self._body(environ)))
        except self._failure as error:
            raise self._explain(error.value) from None
        finally:
            self._blocks.reclaim()
        if isinstance(response.body, application.ResponseBody_Bytes):
            body = [response.body.value]
        else:
            body = _Blocks(response.body.value, self._failure, self._responses)
        reason = response.reason or _REASONS.get(response.status, "")
        start_response(f"{response.status} {reason}", [tuple(header) for header in response.headers])
        return body

    def _body(self, environ):
        body = environ["wsgi.input"]
        reader = body.pass_on() if isinstance(body, Input) else None
        if reader is None:
            return self._application.RequestBody_Bytes(_read(body, environ.get("CONTENT_LENGTH")))
        return self._application.RequestBody_Reader(reader)

    def _explain(self, failure):
        return AppFailure(self._kinds[type(failure)], getattr(failure, "value", ""))


def _variables(environ):
    variables = []
    for name, value in environ.items():
        if name in BOOLEANS:
            value = "true" if value else "false"
        if isinstance(name, str) and isinstance(value, str):
            if not (name.isascii() and value.isascii()):
                check_text("a name in the environ", name)
                check_text(f"environ[{name!r}]", value)
            variables.append((name, value))
    return variables


def _read(body, length):
    """All of a file-like object, or as much as the environ says that there is of it (PEP 3333, "Input and Error Streams")."""
    length = int(length) if length and length.isascii() and length.isdigit() else None
    blocks, size = [], 0
    while length is None or size < length:
        block = body.read(_BLOCK if length is None else min(_BLOCK, length - size))
        if not block:
            break
        blocks.append(block)
        size += len(block)
        if size > BODY_LIMIT:
            raise AppFailure("resource-limit", f"a request body that a middleware has read or replaced: {BODY_LIMIT} bytes")
    return b"".join(blocks)


def _lent(blocks):
    """The attribute of a body in bytes: each time that it is asked for, a block that nobody else holds. The runtime never
    frees its copy of one (see blocks.c), and the object that keeps the attribute lives on during the call."""

    def lend(body):
        return blocks.lend(vars(body)["value"])

    def keep(body, data):
        vars(body)["value"] = data

    return property(lend, keep)


class _Blocks:
    """The iterable of a response that streams."""

    def __init__(self, chunks, failure, responses):
        self._chunks = chunks
        self._failure = failure
        self._is_at_end = False
        self._responses = responses
        responses.append(self)

    def __iter__(self):
        return self

    def __next__(self):
        if self._is_at_end:
            raise StopIteration
        # Also if this fails: nothing follows an error.
        self._is_at_end = True
        try:
            block = self._chunks.next()
        except self._failure as error:
            raise AppFailure("exception", error.value) from None
        if block is None:
            raise StopIteration
        self._is_at_end = False
        return block

    def close(self):
        chunks, self._chunks, self._is_at_end = self._chunks, None, True
        if chunks is not None:
            self._responses.remove(self)
            chunks.close()
            chunks.__exit__(None, None, None)
