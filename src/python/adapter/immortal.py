"""The end of the build: makes all that there is immortal, so that an instance that reads it writes nothing (see memory.c)."""

import gc
import types

from . import _memory

# Those of a code object that running it touches; the collector does not know them.
_OF_CODE = ("co_consts", "co_names", "co_name", "co_qualname", "co_filename")


def make():
    """Once before the rehearsals, or the interpreter would settle on counting; and once after them, for what they leave."""
    gc.collect()
    gc.unfreeze()
    found = _reachable()
    # Before they are immortal: the collector would let go of them, and does not list those that it has frozen.
    gc.freeze()
    _memory.immortalise(found)


def seal():
    make()
    gather()


def gather():
    """Takes the holes of the heap out of use."""
    # What is free belongs to the allocator then: a full collection empties the interpreter's own lists.
    gc.collect()
    _memory.gather()


def _reachable():
    """Each object that the snapshot holds, except those that do something when they go."""
    found = []
    seen = {id(found)}
    seen.add(id(seen))
    todo = gc.get_objects()
    seen.add(id(todo))
    while todo:
        here = [item for item in {id(item): item for item in todo}.values() if id(item) not in seen]
        seen.update(map(id, here))
        found += (item for item in here if not hasattr(type(item), "__del__"))
        todo = gc.get_referents(*here)
        for item in here:
            if type(item) is types.CodeType:
                todo += (getattr(item, name) for name in _OF_CODE)
        seen.add(id(todo))
    return found
