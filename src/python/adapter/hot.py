"""Lays the code that requests run side by side. The interpreter keeps writing to it: counters, and what it has found out about an
instruction's operands. Left where the imports have put it, nearly every function would be on a page of its own.
"""

import gc
import sys
import types


def functions():
    """All that there are, as long as the collector lists them: not once they are immortal."""
    return [item for item in gc.get_objects() if type(item) is types.FunctionType]


def executed(run):
    """The code objects that `run()` executes."""
    found = {}

    def note(frame, event, argument):
        if event == "call":
            found[id(frame.f_code)] = frame.f_code

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return list(found.values())


def together(functions, codes):
    """Gives the functions whose code is among these, or has some of these inside, copies of it that are made now, one after
    the other."""
    hot = {id(code) for code in codes}
    copies = {}

    def copy(code):
        if id(code) not in copies:
            constants = tuple(copy(item) if type(item) is types.CodeType else item for item in code.co_consts)
            inside = any(new is not old for new, old in zip(constants, code.co_consts))
            copies[id(code)] = code.replace(co_consts=constants) if inside or id(code) in hot else code
        return copies[id(code)]

    for function in functions:
        code = copy(function.__code__)
        if code is not function.__code__:
            function.__code__ = code
