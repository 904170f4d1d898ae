"""The first call of an instance: makes anew what the snapshot has frozen and must not be the same everywhere."""

import logging
import os
import random
import tempfile
import time
import uuid
import weakref

# More than anybody can try.
_SEED_BYTES = 32

_pending = True
_environment = {}
_generators = weakref.WeakSet()


def watch_generators():
    """Remembers each `random.Random` that is seeded by chance from now on; returns what ends the watch."""
    seed = random.Random.seed

    def watched_seed(self, a=None, version=2):
        (_generators.add if a is None else _generators.discard)(self)
        return seed(self, a, version)

    random.Random.seed = watched_seed

    def end():
        random.Random.seed = seed

    return end


def remember_environment():
    """What the app and the build have set stays set; what the host grants at run time goes before it."""
    _environment.update(os.environ)


def once():
    """Before the first call. The interpreter has read the environment that is granted now, and forgotten the old one."""
    global _pending
    if _pending:
        _pending = False
        _renew()


def again():
    """The next call is the first one again."""
    global _pending
    _pending = True


def _renew():
    for name, value in _environment.items():
        os.environ.setdefault(name, value)
    for generator in (random, *_generators):
        # What it would take by itself, as much as its state has, takes the host longer than the app of a small response.
        generator.seed(int.from_bytes(os.urandom(_SEED_BYTES)))
    # Each of these would repeat, in every instance, what the snapshot had begun.
    _set(tempfile, "tempdir", None)
    _set(tempfile, "_name_sequence", None)
    for name in ("_node", "_last_timestamp", "_last_timestamp_v7"):
        _set(uuid, name, None)
    _set(uuid, "_last_counter_v7", 0)
    logging._startTime = time.time_ns() if isinstance(logging._startTime, int) else time.time()


def _set(module, name, value):
    # To write what is there already would make a page that an instance has for itself.
    if getattr(module, name, value) != value:
        setattr(module, name, value)
