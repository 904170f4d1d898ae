"""The world's exports for componentize-py: one call of the component is one call of the app, or of the middleware.

Importing this module happens at build time: it imports the app, and the memory that this leaves is what every
instance starts from.
"""

import sys

from componentize_py_types import Err
from wit_world.exports import application as wit
from wit_world.imports import io

from . import _blocks, snapshot, thaw
from .environ import wsgi_environ
from .inner import AppFailure, InnerApp
from .response import Exchange, describe
from .streams import Errors, Input, printable

try:
    from wit_world.imports import application as imported
except ImportError:
    _inner = None
else:
    _inner = InnerApp(imported, Err, _blocks)
_app = snapshot.take(_inner)
_FAILURES = {
    "timeout": lambda detail: wit.Failure_Timeout(),
    "resource-limit": wit.Failure_ResourceLimit,
    "unavailable": wit.Failure_Unavailable,
}


class Application:
    """The exported function, under the name that componentize-py looks for."""

    def call(self, environ):
        _blocks.reclaim()
        try:
            thaw.once()
            return _respond(_app, environ, io.errors)
        except Err:
            raise
        except BaseException as error:
            raise Err(_failure(error)) from None


class Chunks:
    """The exported resource: the rest of a response, with what has to be let go of after it."""

    def __init__(self, exchange, streams):
        self._exchange = exchange
        self._streams = streams

    def next(self):
        _blocks.reclaim()
        try:
            block = self._exchange.next()
            return None if block is None else _blocks.lend(block)
        except BaseException as error:
            raise Err(_describe(error)) from None
        finally:
            _flush()

    def close(self):
        _blocks.reclaim()
        exchange, streams = self._exchange, self._streams
        # The runtime of componentize-py 0.25 keeps a resource also after the host has dropped it.
        self._exchange = self._streams = None
        exchange.close()
        streams.close()
        _flush()


class _Streams:
    """What one request has open on the host's side."""

    def __init__(self, body, report):
        if _inner is not None:
            _inner.begin()
        self.errors = Errors(report)
        if isinstance(body, wit.RequestBody_Reader):
            self.input = Input(body.value, Err)
        else:
            self.input = Input.of(body.value)

    def close(self):
        if _inner is not None:
            _inner.end()
        self.errors.flush()
        self.input.release()


def _respond(app, environ, report):
    streams = _Streams(environ.input, report)
    exchange = Exchange(lambda text: report(printable(text)))
    body = None
    try:
        variables = wsgi_environ(environ.vars, streams.input, streams.errors)
        code, reason, headers, body = exchange.run(app, variables)
        if body is None:
            body = wit.ResponseBody_Chunks(Chunks(exchange, streams))
        else:
            body = wit.ResponseBody_Bytes(_blocks.lend(body))
        return wit.Response(code, reason, headers, body)
    finally:
        if not isinstance(body, wit.ResponseBody_Chunks):
            streams.close()
        _flush()


def _failure(error):
    kind = error.kind if isinstance(error, AppFailure) else "exception"
    return _FAILURES.get(kind, wit.Failure_Exception)(_describe(error))


def _describe(error):
    if isinstance(error, AppFailure):
        return printable(error.detail)
    try:
        return printable(describe(error))
    except Exception as worse:
        # An exception whose own text cannot be had.
        return f"{type(error).__name__} (and {type(worse).__name__} while describing it)"


def _flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            # The app may have replaced or closed it: nothing is lost that this could save.
            pass


def _rehearse(app, variables, report):
    """The same to the response's end at build time, when there is no host to ask anything of: the status."""
    _blocks.reclaim()
    thaw.once()
    response = _respond(app, wit.Environ(variables, wit.RequestBody_Bytes(b"")), report)
    if isinstance(response.body, wit.ResponseBody_Chunks):
        chunks = response.body.value
        try:
            while chunks.next() is not None:
                pass
        finally:
            chunks.close()
    return response.status


snapshot.seal(_app, _rehearse)
