"""A server that is measured: started, waited for, looked at from outside, and ended."""

import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time

from . import programs

PATIENCE = 300
TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A contestant that does not do what it is to do; it is reported, and the others go on."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """In a session of its own, by which its processes are found."""

    def __init__(self, contestant, workers, path="/", check=True):
        self.contestant = contestant
        self.path = path
        self.port = free_port()
        self.log = tempfile.TemporaryFile()
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            contestant.arguments(self.port, workers),
            cwd=contestant.directory,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        try:
            self.wait(check)
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}{self.path}"

    def wait(self, check):
        """Until it answers; what it answers is looked at."""
        while True:
            try:
                response = self.get(self.path)
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() - self.started > PATIENCE:
                    raise Failed(f"it does not answer: {self.last_words()}") from None
                time.sleep(0.002)
        self.first_answer = time.monotonic() - self.started
        expected = (200, programs.CONTENT_TYPE, programs.BODY)
        if check and response != expected:
            raise Failed(f"it answers {response} instead of {expected}")

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.getheader("Content-Type"), response.read()
        finally:
            connection.close()

    def last_words(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace").strip()[-500:]

    def processes(self):
        """All of them, the first one first."""
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit() and stat(entry)[3:4] == [str(self.process.pid)]:
                found.append(int(entry))
        return sorted(found)

    def workers(self):
        """Those that are not the first; or the only one."""
        return [pid for pid in self.processes() if pid != self.process.pid] or [self.process.pid]

    def processor_seconds(self):
        stats = (stat(pid) for pid in self.processes())
        return sum(int(fields[11]) + int(fields[12]) for fields in stats if fields) / TICKS

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.log.close()


def stat(pid):
    """The fields of /proc/PID/stat from the third on: state, parent, group, session..."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def kib(pid, file, field):
    """A line such as `Pss:  123 kB` of a file in /proc/PID."""
    with open(f"/proc/{pid}/{file}", encoding="ascii") as lines:
        for line in lines:
            if line.startswith(field + ":"):
                return int(line.split()[1])
    return 0


def proportional_kib(pid):
    return kib(pid, "smaps_rollup", "Pss")
