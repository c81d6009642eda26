"""Python programs in processes of their own, forked off one that has imported TensorFlow and has computed nothing.

The import takes seconds, and dozens of programs are started. Tests of imports, and of settings that Python or an import
reads, start Python itself.
"""

import functools
import gc
import json
import os
import pathlib
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile

PROJECT = pathlib.Path(__file__).parents[1]
_REQUEST_BYTES = 2**18
_NUMBER_BYTES = 4


class Program:
    """A program that has been started. What it prints is known when it has ended."""

    def __init__(self, status, streams):
        self._status, self._streams = status, streams
        self.returncode, self.pid = None, self._number()

    def _number(self):
        """Reads what the forking process says: first the number of the process, then its exit code."""
        return int.from_bytes(os.read(self._status, _NUMBER_BYTES), sys.byteorder, signed=True)

    def poll(self):
        """Returns the exit code, or None as long as the program runs."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self.returncode = self._number()
            os.close(self._status)
        return self.returncode

    def wait(self, timeout=300):
        """Waits for the end and returns the exit code, which is negative after a signal."""
        if self.returncode is None and not select.select([self._status], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(f"program {self.pid}", timeout)
        return self.poll()

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout=300):
        """Waits for the end and returns what was printed to standard output, and to standard error."""
        self.wait(timeout)
        for stream in self._streams:
            stream.seek(0)
        return tuple(stream.read() for stream in self._streams)


def start(arguments, cwd=PROJECT, **environment):
    """Starts Python with arguments: a script, or `-m` and a module, or `-c` and code."""
    streams = [tempfile.TemporaryFile("w+", encoding="utf-8") for _ in range(2)]  # noqa: SIM115
    status, theirs = os.pipe()
    request = json.dumps([[os.fspath(word) for word in arguments], os.fspath(cwd), {**os.environ, **environment}])
    socket.send_fds(_server(), [request.encode()], [*(stream.fileno() for stream in streams), theirs])
    os.close(theirs)
    return Program(status, streams)


def run(arguments, cwd=PROJECT, **environment):
    """Starts Python as `start` does, and waits for its end."""
    program = start(arguments, cwd, **environment)
    try:
        stdout, stderr = program.communicate()
    finally:
        program.kill()
    return subprocess.CompletedProcess(arguments, program.returncode, stdout, stderr)


@functools.cache
def _server():
    """Starts the process that forks, and returns the socket that it reads. It ends when this process does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    subprocess.Popen(
        [sys.executable, "-m", "tests.programs", str(theirs.fileno())],
        cwd=PROJECT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    return ours


def _requests(server):
    """Forks at every request, and returns it in the process that will be the program."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(server, _REQUEST_BYTES, 3)
        if not message:
            sys.exit()
        if os.fork() == 0:
            # Waits for the program, so that its exit code is told to whoever asked for it.
            server.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            *streams, status = descriptors
            program = os.fork()
            if program == 0:
                os.close(status)
                for number, stream in enumerate(streams, start=1):
                    os.dup2(stream, number)
                    os.close(stream)
                return json.loads(message)
            _tell(status, program)
            _tell(status, os.waitstatus_to_exitcode(os.waitpid(program, 0)[1]))
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def _tell(status, number):
    os.write(status, number.to_bytes(_NUMBER_BYTES, sys.byteorder, signed=True))


def _become(arguments, cwd, environment):
    """Runs a program in this process."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    kind, *rest = arguments
    if kind == "-m":
        sys.argv, sys.path[0] = rest, cwd
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv, sys.path[0] = ["-c", *rest[1:]], ""
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv, sys.path[0] = arguments, os.path.dirname(os.path.abspath(kind))
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    import dsl_tf.commands.actions  # noqa: F401

    # So that programs neither copy nor collect what was imported when they end, which takes a second.
    gc.freeze()

    # The kernel reaps the processes that wait.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _become(*_requests(socket.socket(fileno=int(sys.argv[1]))))
