"""Run a command of the study as a child process that ends when its parent does, however that ends."""

import contextlib
import ctypes
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

LINUX = sys.platform == "linux"
LIBC = ctypes.CDLL(None) if LINUX else None  # loaded here: nothing may be loaded between fork and exec
PR_SET_PDEATHSIG = 1  # prctl(2): the kernel sends this process a signal when the thread that made it ends
PATIENCE = 5  # seconds to tidy up after an interrupt; a training notices it within a batch


def run(words: Iterable[str], log: Path | None = None, tick: Callable[[], object] = lambda: None) -> int:
    """Exit status of `python -m <words>`, run in the current folder.

    log: takes what it says, the command first; None lets it speak for itself. tick: called every second meanwhile.
    Where that raises, or Ctrl-C comes, the child is interrupted and tidies up before the exception goes on. Where
    this process is killed outright, Linux kills the child with it.
    """
    words = tuple(words)
    with contextlib.ExitStack() as stack:
        said = None
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            said = stack.enter_context(open(log, "w"))
            print(f"$ {shlex.join(('python', '-m', *words))}", file=said, flush=True)
        child = subprocess.Popen(
            (sys.executable, "-u", "-m", *words),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=None if said is None else subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the study alone, which passes it on once
            preexec_fn=_end_with(os.getpid()) if LINUX else None,
        )
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return child.wait(timeout=1)
                tick()
        except BaseException:
            _interrupt(child)
            raise


def _end_with(parent: int) -> Callable[[], None]:
    def before_exec():
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)

    return before_exec


def _interrupt(child: subprocess.Popen) -> None:
    for _ in range(3):  # an import may swallow the first one
        child.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            child.wait(timeout=PATIENCE)
            return
    child.kill()
    child.wait()


def last_line(said: str) -> str:
    """What a command said last, without what a progress bar drew over."""
    lines = [line.split("\r")[-1].strip() for line in said.split("\n")]
    return next((line for line in reversed(lines) if line), "")
