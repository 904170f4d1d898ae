"""The adapter's modules, imported by an ordinary Python: what is around them in the sandbox is imitated here."""

import importlib
import pathlib
import sys
import types
from dataclasses import dataclass

SOURCE = pathlib.Path(__file__).resolve().parents[2] / "src" / "python"
sys.path.insert(0, str(SOURCE))
sys.dont_write_bytecode = True


class Err(Exception):
    """componentize-py's: how an error crosses the border, in both directions."""

    def __init__(self, value):
        super().__init__(value)
        self.value = value


@dataclass
class Case:
    value: object = None


class Bytes(Case):
    pass


class Reader(Case):
    pass


class Failure(Case):
    pass


@dataclass
class Timeout:
    pass


class ResourceLimit(Case):
    pass


class Unavailable(Case):
    pass


class Whole(Case):
    pass


class Rest(Case):
    pass


@dataclass
class Environ:
    vars: list
    input: object


@dataclass
class Response:
    status: int
    reason: str
    headers: list
    body: object


class Blocks:
    """`_blocks`, a compiled module: what was done with it. It never has two blocks at once."""

    def __init__(self):
        self.is_lent = False
        self.calls = []

    def lend(self, block):
        assert type(block) is bytes and not self.is_lent
        self.is_lent = True
        self.calls.append(block)
        return block

    def reclaim(self):
        self.is_lent = False
        self.calls.append("reclaim")


class Host:
    """What the imports of the world do, and what they were told."""

    def __init__(self):
        self.log = []

    @property
    def text(self):
        return "".join(self.log)


class Body:
    """The host's reader: hands out `blocks`, never more at once than it was asked for."""

    def __init__(self, *blocks, error=None):
        self.blocks = list(blocks)
        self.error = error
        self.released = 0
        self.asked = []

    def read(self, limit):
        assert not self.released
        self.asked.append(limit)
        if not self.blocks:
            if self.error:
                raise Err(self.error)
            return b""
        block, self.blocks[0] = self.blocks[0][:limit], self.blocks[0][limit:]
        if not self.blocks[0]:
            del self.blocks[0]
        return block

    def __exit__(self, *_):
        self.released += 1


class Stream:
    """The imported iterable: hands out `blocks`, then ends or breaks."""

    def __init__(self, *blocks, error=None):
        self.blocks = list(blocks)
        self.error = error
        self.done = []

    def next(self):
        assert self.done == []
        if self.blocks:
            return self.blocks.pop(0)
        if self.error:
            raise Err(self.error)
        return None

    def close(self):
        self.done.append("close")

    def __exit__(self, *_):
        self.done.append("drop")


class Inside:
    """The imported application: what it was called with, and what comes of it, a response or a failure."""

    def __init__(self, *results):
        self.results = list(results)
        self.calls = []

    def call(self, environ):
        # Asked for its body once, as the runtime does.
        case = Reader if isinstance(environ.input, Reader) else Bytes
        self.calls.append(Environ(environ.vars, case(environ.input.value)))
        result = self.results.pop(0)
        if isinstance(result, (Case, Timeout)):
            raise Err(result)
        return result

    @property
    def vars(self):
        return dict(self.calls[-1].vars)


def load_guest(app, inside=None):
    """The module `adapter.guest` around an app, and its host; around a middleware, if there is something inside of it.

    Each call imports everything anew."""
    host = Host()
    for name in [name for name in sys.modules if name.split(".")[0] in ("adapter", "wit_world")]:
        del sys.modules[name]
    wit = types.ModuleType("wit_world.exports.application")
    wit.RequestBody_Bytes, wit.RequestBody_Reader = Bytes, Reader
    wit.ResponseBody_Bytes, wit.ResponseBody_Chunks = Whole, Rest
    wit.Failure_Exception, wit.Response, wit.Environ = Failure, Response, Environ
    wit.Failure_Timeout, wit.Failure_ResourceLimit, wit.Failure_Unavailable = Timeout, ResourceLimit, Unavailable
    exports = types.ModuleType("wit_world.exports")
    exports.application = wit
    imports = types.ModuleType("wit_world.imports")
    imports.io = types.SimpleNamespace(errors=host.log.append)
    if inside is not None:
        # The types of what is imported are as those of what is exported, but others.
        imports.application = types.SimpleNamespace(**vars(wit), call=inside.call)
        imports.application.RequestBody_Bytes = type("InwardBytes", (Bytes,), {})
    types_module = types.ModuleType("componentize_py_types")
    types_module.Err = Err
    snapshot = types.ModuleType("adapter.snapshot")
    snapshot.take = lambda inner: app if inner is None else app(inner)
    snapshot.seal = lambda app, call: None
    package = importlib.import_module("adapter")
    package.snapshot = snapshot
    package._blocks = Blocks()
    sys.modules.update(
        {
            "wit_world": types.ModuleType("wit_world"),
            "wit_world.imports": imports,
            "wit_world.exports": exports,
            "wit_world.exports.application": wit,
            "componentize_py_types": types_module,
            "adapter.snapshot": snapshot,
        }
    )
    return importlib.import_module("adapter.guest"), host


VARIABLES = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/caf\xc3\xa9",
    "QUERY_STRING": "",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_HOST": "localhost:8000",
    "wsgi.url_scheme": "http",
    "wsgi.multithread": "false",
    "wsgi.multiprocess": "true",
    "wsgi.run_once": "true",
}




class Served:
    """One request as the host makes it: `call`, then `next` to the end or an error, then `close`."""

    def __init__(self, app, body=b"", steps=None, inside=None, **variables):
        self.guest, self.host = load_guest(app, inside)
        self.reader = body if isinstance(body, Body) else None
        self.blocks, self.failure, self.error, self.response = [], None, None, None
        request = Reader(body) if self.reader else Bytes(body)
        pairs = {**VARIABLES, **variables}
        try:
            self.response = self.guest.Application().call(Environ(list(pairs.items()), request))
        except Err as error:
            assert inside is not None or type(error.value) is Failure
            self.kind, self.failure = type(error.value), getattr(error.value, "value", "")
            return
        self.status = f"{self.response.status} {self.response.reason}"
        self.is_whole = isinstance(self.response.body, Whole)
        if self.is_whole:
            self.blocks.append(self.response.body.value)
            return
        chunks = self.response.body.value
        while steps is None or len(self.blocks) < steps:
            try:
                block = chunks.next()
            except Err as error:
                self.error = error.value
                break
            if block is None:
                break
            self.blocks.append(block)
        chunks.close()

    @property
    def body(self):
        return b"".join(self.blocks)
