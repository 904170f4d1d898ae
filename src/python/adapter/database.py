"""SQLite in the sandbox: WASI has no file locks, so SQLite locks a database by a directory beside it, `NAME.lock`.

That has two consequences which this module takes care of. Who is killed while holding the lock leaves it behind, and
nobody would get it ever again. And nobody gets it in a directory that may not be written, not even to read.
"""

import errno
import os
import time
from urllib.parse import quote

# How old a lock must be to be taken for one that was left behind, in seconds. A lock lives for one transaction.
STALE = 60


def provide(sqlite3):
    """Makes `sqlite3.connect` do so. Connections themselves stay what they are."""
    connect = sqlite3.dbapi2.connect

    def connect_in_sandbox(database, *arguments, **options):
        path, uri = _path_of(database, options.get("uri") or len(arguments) > 6 and arguments[6])
        if path is not None:
            _break_stale_lock(path)
            if not uri and _is_read_only(path):
                options["uri"] = True
                database = f"file:{quote(path)}?mode=ro&vfs=unix-none"
        return connect(database, *arguments, **options)

    connect_in_sandbox.__doc__ = connect.__doc__
    sqlite3.connect = sqlite3.dbapi2.connect = connect_in_sandbox


def _path_of(database, uri):
    """The file that is meant; None for a database in memory, and for a URI that says more than a path."""
    try:
        path = os.fsdecode(database)
    except TypeError:
        return None, uri
    if uri and path.startswith("file:"):
        path = path[5:].partition("?")[0]
        path = path if "%" not in path else ""
    else:
        uri = False
    return (None if path in ("", ":memory:") else path), uri


def _break_stale_lock(path):
    lock = path + ".lock"
    try:
        if time.time() - os.stat(lock).st_mtime > STALE:
            os.rmdir(lock)
    except OSError:
        # There is none, which is the rule; or somebody else was faster.
        pass


def _is_read_only(path):
    """Whether nobody in the sandbox may write beside the file. Asked so that nothing changes: what is not there cannot
    be removed, but only who might remove it is told so."""
    if not os.path.isfile(path):
        return False
    try:
        os.rmdir(path + ".lock.none")
    except OSError as error:
        return error.errno in (errno.EPERM, errno.EACCES, errno.EROFS)
    return False
