"""What is done last before a snapshot: rehearsals, where hot code lies, and immortality."""

import importlib
import types
import unittest

from fixtures import load_guest


class Rehearsal(unittest.TestCase):
    def setUp(self):
        self.guest, _ = load_guest(None)
        self.rehearsal = importlib.import_module("adapter.rehearsal")

    def rehearse(self, app, *targets):
        self.rehearsal.of(app, targets, self.guest._rehearse)

    def test_an_app_is_called_only_for_the_targets_that_are_named(self):
        asked = []

        def app(environ, start_response):
            asked.append((environ["PATH_INFO"], environ["QUERY_STRING"], environ["wsgi.input"].read()))
            start_response("200 OK", [])
            return [b"one", b"two"]

        self.rehearse(app)
        self.assertEqual(asked, [])
        self.rehearse(app, "/caf%C3%A9?a=%20b")
        self.assertEqual(set(asked), {("/caf\xc3\xa9", "a=%20b", b"")})
        self.assertGreater(len(asked), 10)

    def test_an_app_that_fails_is_told_of(self):
        def raising(environ, start_response):
            raise LookupError("why")

        def refusing(environ, start_response):
            environ["wsgi.errors"].write("what the log would have\n")
            start_response("500 Internal Server Error", [])
            return [b""]

        def missing(environ, start_response):
            start_response("404 Not Found", [])
            return [b""]

        for app, why in ((raising, "LookupError: why"), (refusing, "what the log would have")):
            with self.assertRaises(self.rehearsal.Failed) as failed:
                self.rehearse(app, "/")
            self.assertIn(why, str(failed.exception))
            self.assertEqual(failed.exception.target, "/")
        self.rehearse(missing, "/")

    def test_nothing_is_left_open(self):
        closed = []

        class Body:
            def __iter__(self):
                return iter([b"one", b"two"])

            def close(self):
                closed.append(self)

        def app(environ, start_response):
            start_response("200 OK", [])
            return Body()

        self.rehearse(app, "/")
        self.assertGreater(len(closed), 10)


class Immortality(unittest.TestCase):
    def test_all_that_there_is_but_what_has_an_end_of_its_own(self):
        package = importlib.import_module("adapter")
        package._memory = types.SimpleNamespace()
        immortal = importlib.import_module("adapter.immortal")
        module = types.ModuleType("app")
        exec("def f():\n    return ('a constant', 70_000.5)\n\nclass Ends:\n    def __del__(self):\n        pass\n", vars(module))
        module.held = {"key": [module.Ends(), "a value"]}
        found = {id(item) for item in immortal._reachable()}
        for item in (module, module.f, module.f.__code__, *module.f.__code__.co_consts, module.held["key"], module.Ends):
            self.assertIn(id(item), found, item)
        self.assertIn(id(module.held["key"][1]), found)
        self.assertNotIn(id(module.held["key"][0]), found)


class Hot(unittest.TestCase):
    def test_what_runs_is_laid_side_by_side_and_does_the_same(self):
        hot = importlib.import_module("adapter.hot")
        module = types.ModuleType("app")
        exec(
            "def outer(n):\n    def inner(x, *, y=2):\n        return [x * y + n for _ in range(1)]\n    return inner\n\n"
            "def cold():\n    return 'cold'\n\n"
            "class Class:\n    @property\n    def value(self):\n        return outer(1)(20)\n",
            vars(module),
        )
        outer, cold, value = module.outer, module.cold, module.Class.value.fget
        before = {function: function.__code__ for function in (outer, cold, value)}
        self.assertTrue(set(before) <= set(hot.functions()))
        codes = hot.executed(lambda: module.Class().value)
        names = {code.co_name for code in codes}
        self.assertTrue({"value", "outer", "inner"} <= names and "cold" not in names, names)
        hot.together([outer, cold, value], codes)
        self.assertIs(cold.__code__, before[cold])
        for function in (outer, value):
            self.assertIsNot(function.__code__, before[function])
            self.assertEqual(function.__code__, before[function])
        inner = [item for item in outer.__code__.co_consts if isinstance(item, types.CodeType)]
        self.assertNotIn(id(inner[0]), [id(item) for item in before[outer].co_consts])
        self.assertEqual(module.Class().value, [41])
        self.assertEqual(module.cold(), "cold")

    def test_functions_that_share_code_share_the_copy(self):
        hot = importlib.import_module("adapter.hot")
        made = [(lambda: 1) for _ in range(2)]
        hot.together(made, hot.executed(made[0]))
        self.assertIs(made[0].__code__, made[1].__code__)
