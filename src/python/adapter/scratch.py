"""Temporary files in the sandbox: where the operator grants no directory for them, they live in memory.

Who opens such a file by its name finds nothing there; all else works, for as much as the memory limit allows.
"""

import functools
import io
import tempfile


class _InMemory:
    """A temporary file without a directory. Its name stands for nothing. No BytesIO itself, because what is spilled
    from one to a file must not look as if it had stayed where it was."""

    name = "<memory>"

    def __init__(self, file):
        self.file = file

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __iter__(self):
        return iter(self.file)


def provide():
    """Makes `TemporaryFile`, `NamedTemporaryFile`, and `SpooledTemporaryFile` which is made of the first, do so."""
    tempfile.TemporaryFile = _or_in_memory(tempfile.TemporaryFile)
    tempfile.NamedTemporaryFile = _or_in_memory(tempfile.NamedTemporaryFile)
    tempfile._get_default_tempdir = _or_nowhere(tempfile._get_default_tempdir)


def _or_in_memory(on_disk):
    @functools.wraps(on_disk)
    def temporary_file(mode="w+b", buffering=-1, encoding=None, newline=None, *arguments, errors=None, **options):
        try:
            return on_disk(mode, buffering, encoding, newline, *arguments, errors=errors, **options)
        except FileNotFoundError:
            # Of suffix, prefix, dir: only where any directory would do.
            if arguments[2:] or options.get("dir"):
                raise
        file = io.BytesIO()
        if "b" not in mode:
            file = io.TextIOWrapper(file, encoding=encoding, errors=errors, newline=newline)
        return _InMemory(file)

    return temporary_file


def _or_nowhere(choose):
    """Settings that only put a path together from the directory's name must not fail: what fails is to write there."""

    @functools.wraps(choose)
    def default_tempdir(*arguments):
        try:
            return choose(*arguments)
        except FileNotFoundError:
            return "/tmp"

    return default_tempdir
