"""The file-like objects of the environ: `wsgi.input`, `wsgi.errors`, `wsgi.file_wrapper`."""

import io

# What one read asks the host for at most, in bytes. A list that crosses the sandbox's border is copied twice.
READ_LIMIT = 1 << 20
# What is kept of a body between two small reads, in bytes.
BUFFER = 1 << 16
# What is kept of an unfinished line of `wsgi.errors`, in characters.
LINE_LIMIT = 1 << 13


class _HostBody(io.RawIOBase):
    """The request body as the host hands it out. `read(max)` of the host's reader blocks for at least one byte."""

    def __init__(self, reader, failure):
        self._reader = reader
        self._failure = failure
        self._is_untouched = True
        self._is_passed_on = False

    def readable(self):
        return True

    def readinto(self, target):
        if self._is_passed_on:
            raise OSError(
                "the request body was passed on, unread, to the app inside; to read it as well, or to call that app again,"
                " read it first and put it into wsgi.input as io.BytesIO(body)"
            )
        self._is_untouched = False
        if self._reader is None or not target:
            return 0
        try:
            data = self._reader.read(min(len(target), READ_LIMIT))
        except self._failure as error:
            raise OSError(f"the request body cannot be read to its end: {error.value}") from None
        target[: len(data)] = data
        return len(data)

    def release(self):
        """Gives the reader back to the host; from now on the body is at its end."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.__exit__(None, None, None)

    def pass_on(self):
        """The host's reader, for somebody else from now on; None where there is none, or it was read from."""
        if self._reader is None or self._failure is _Never or not self._is_untouched:
            return None
        reader, self._reader = self._reader, None
        self._is_passed_on = True
        return reader


class Input(io.BufferedReader):
    """`wsgi.input`: reads ahead of the app no further than its buffer, and gives the host's reader back when asked."""

    def __init__(self, reader, failure):
        self._body = _HostBody(reader, failure)
        super().__init__(self._body, BUFFER)

    @classmethod
    def of(cls, data):
        """A body that is here already, or none at all."""
        return cls(_Bytes(data), _Never) if data else cls(None, _Never)

    def release(self):
        self._body.release()

    def pass_on(self):
        return self._body.pass_on()


class _Never(Exception):
    """What a reader of bytes in memory raises."""


class _Bytes:
    def __init__(self, data):
        self.read = io.BytesIO(data).read

    def __exit__(self, *_):
        pass


class Errors(io.TextIOBase):
    """`wsgi.errors`: passes whole lines to the host, and unfinished ones when they are flushed or grow long."""

    def __init__(self, report):
        self._report = report
        self._line = ""

    @property
    def encoding(self):
        return "utf-8"

    @property
    def errors(self):
        return "backslashreplace"

    def writable(self):
        return True

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError(f"wsgi.errors takes str, not {type(text).__name__}")
        whole, newline, rest = (self._line + text).rpartition("\n")
        if len(rest) > LINE_LIMIT:
            whole, newline, rest = whole + newline + rest, "", ""
        self._line = rest
        if whole or newline:
            self._report(printable(whole + newline))
        return len(text)

    def flush(self):
        line, self._line = self._line, ""
        if line:
            self._report(printable(line))


class FileWrapper:
    """`wsgi.file_wrapper`: a file as an iterable of blocks, from its current offset, closed with the response."""

    def __init__(self, filelike, block_size=BUFFER):
        self.filelike = filelike
        self.block_size = block_size
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self):
        return self

    def __next__(self):
        block = self.filelike.read(self.block_size)
        if not block:
            raise StopIteration
        return block


def printable(text):
    """The text without what cannot cross the sandbox's border: lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
