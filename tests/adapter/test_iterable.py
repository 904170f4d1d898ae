"""PEP 3333, "Buffering and Streaming", the iterable and its close(); and what an app may do wrong."""

import unittest

from fixtures import SOURCE, Served

PLAIN = [("Content-Type", "text/plain")]


class Tracked:
    """An iterable that counts how often it is closed, and how far it was asked."""

    def __init__(self, *blocks, error=None, close_error=None):
        self.blocks, self.error, self.close_error = list(blocks), error, close_error
        self.closed = self.asked = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.asked += 1
        if self.blocks:
            return self.blocks.pop(0)
        if self.error:
            raise self.error
        raise StopIteration

    def close(self):
        self.closed += 1
        if self.close_error:
            raise self.close_error


def returning(result, started=True):
    def app(environ, start_response):
        if started:
            start_response("200 OK", PLAIN)
        return result

    return app


class Blocks(unittest.TestCase):
    def test_one_block_is_a_whole_body(self):
        for result in ([b"body"], (b"body",), [b""], []):
            served = Served(returning(result))
            self.assertTrue(served.is_whole, result)
            self.assertEqual(served.body, b"".join(result))

    def test_several_are_sent_one_by_one(self):
        tracked = Tracked(b"a", b"b", b"c")
        served = Served(returning(tracked), steps=1)
        self.assertEqual(served.blocks, [b"a"])
        # The head goes with the first block; the second is not asked for before the host wants it.
        self.assertEqual(tracked.asked, 1)
        self.assertFalse(served.is_whole)

    def test_empty_blocks_are_skipped(self):
        self.assertEqual(Served(returning(Tracked(b"", b"a", b"", b"", b"b", b""))).blocks, [b"a", b"b"])
        self.assertEqual(Served(returning([b"", b"a", b""])).blocks, [b"a"])

    def test_nothing_at_all(self):
        for result in (Tracked(), Tracked(b"", b""), iter(()), [b"", b""]):
            served = Served(returning(result))
            self.assertEqual(served.body, b"")
            self.assertTrue(served.is_whole)

    def test_a_generator_runs_to_its_end(self):
        done = []

        def app(environ, start_response):
            start_response("200 OK", PLAIN)
            yield b"x"
            done.append("after")

        Served(app)
        self.assertEqual(done, ["after"])

    def test_old_iteration_protocol(self):
        class Sequence:
            def __getitem__(self, index):
                return [b"a", b"b"][index]

        self.assertEqual(Served(returning(Sequence())).body, b"ab")

    def test_subclasses_of_bytes(self):
        class Special(bytes):
            pass

        for result in ([Special(b"x")], [Special(b"x"), Special(b"y")]):
            for block in Served(returning(result)).blocks:
                self.assertIs(type(block), bytes)


class Closing(unittest.TestCase):
    def test_once_at_the_end(self):
        for blocks in ((), (b"",), (b"a",), (b"a", b"b")):
            tracked = Tracked(*blocks)
            Served(returning(tracked))
            self.assertEqual(tracked.closed, 1, blocks)

    def test_once_when_the_client_goes_away(self):
        tracked = Tracked(b"a", b"b", b"c")
        Served(returning(tracked), steps=1)
        self.assertEqual(tracked.closed, 1)

    def test_once_on_an_error_before_the_head(self):
        tracked = Tracked(error=ValueError("first step"))
        served = Served(returning(tracked))
        self.assertIn("ValueError: first step", served.failure)
        self.assertEqual(tracked.closed, 1)

    def test_once_on_an_error_after_the_head(self):
        tracked = Tracked(b"a", error=ValueError("second step"))
        served = Served(returning(tracked))
        self.assertEqual(served.blocks, [b"a"])
        self.assertIn("ValueError: second step", served.error)
        self.assertEqual(tracked.closed, 1)

    def test_once_without_start_response(self):
        tracked = Tracked(b"a")
        served = Served(returning(tracked, started=False))
        self.assertIsNotNone(served.failure)
        self.assertEqual(tracked.closed, 1)

    def test_a_failing_close_is_logged_and_does_no_harm(self):
        for blocks in ((), (b"a", b"b")):
            tracked = Tracked(*blocks, close_error=RuntimeError("while closing"))
            served = Served(returning(tracked))
            self.assertIsNone(served.failure)
            self.assertEqual(served.body, b"".join(blocks))
            self.assertIn("RuntimeError: while closing", served.host.text)
            self.assertEqual(tracked.closed, 1)

    def test_a_generator_is_closed(self):
        seen = []

        def app(environ, start_response):
            start_response("200 OK", PLAIN)
            try:
                while True:
                    yield b"x"
            finally:
                seen.append("closed")

        Served(app, steps=3)
        self.assertEqual(seen, ["closed"])


class Mistakes(unittest.TestCase):
    """None of them may trap: the host is told what was wrong."""

    def test_what_is_no_iterable(self):
        for result in (None, 1, object()):
            self.assertIn("must return an iterable of bytes", Served(returning(result)).failure)

    def test_what_is_no_bytes(self):
        for result in (["text"], "text", [None], [1], b"bytes", [bytearray(b"x")], ["text", b"x"], [b"", "text"]):
            self.assertIn("must yield bytes", Served(returning(result)).failure, result)
        self.assertIn("must yield bytes", Served(returning([b"x", "text"])).error)

    def test_errors_come_with_the_apps_own_traceback(self):
        def helper():
            return 1 // 0

        def app(environ, start_response):
            try:
                helper()
            except ZeroDivisionError as error:
                raise LookupError("outer") from error

        failure = Served(app).failure
        self.assertIn("ZeroDivisionError", failure)
        self.assertIn("LookupError: outer", failure)
        self.assertIn("in helper", failure)
        self.assertIn("direct cause", failure)
        self.assertNotIn(str(SOURCE), failure)

    def test_exits_are_errors_too(self):
        for error in (SystemExit(1), KeyboardInterrupt(), GeneratorExit(), StopIteration(), RecursionError(), MemoryError()):
            def app(environ, start_response):
                raise error

            self.assertIn(type(error).__name__, Served(app).failure)
            served = Served(returning(Tracked(b"a", error=error)))
            if not isinstance(error, StopIteration):
                self.assertIn(type(error).__name__, served.error)

    def test_an_error_that_cannot_be_told(self):
        class Mute(Exception):
            def __str__(self):
                raise RuntimeError

        def app(environ, start_response):
            raise Mute

        self.assertIn("Mute", Served(app).failure)

    def test_an_error_with_lone_surrogates(self):
        def app(environ, start_response):
            raise ValueError("\udcff")

        Served(app).failure.encode("utf-8")


if __name__ == "__main__":
    unittest.main()
