"""Spread the trainings of a study over machines with Dask. Each is one task, named after its run.

    pip install -r requirements-cluster.txt                                  everywhere, with requirements.txt
    python -m dask scheduler                                                 once; tells its ADDRESS
    python -m dask worker ADDRESS --nthreads 1 --no-nanny                    on each machine, in a clone of this project
    python -m evaluation.study studies/kaggle15.toml --scheduler ADDRESS     here

A worker runs the command that `evaluation.study` runs here, on its own copy of the prepared data, which it prepares
where it is absent; the run comes back through the scheduler, so nothing else is shared. When a worker is lost, Dask
gives its run to another. `--no-nanny`, for Dask's nanny holds linear algebra to one thread. Whoever reaches a Dask
scheduler can run code on its workers: keep it in a network that you trust, or set up TLS
(https://distributed.dask.org/en/stable/tls.html).
"""

import contextlib
import logging
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from data_prep.faceset import DataError
from data_prep.prepared import load
from evaluation import child
from evaluation.study_plan import Step, find_prepared, preparation, training_warning
from evaluation.study_runs import DataSet
from models.provenance import PACKAGES, commit
from models.runs import publish

RETRIES = 2  # of what goes wrong beside the training: a full disk, data that cannot be prepared
START = "start one in a clone of this project: .venv/bin/python -m dask worker {address} --nthreads 1 --no-nanny"


def spread(steps: list[Step], address: str, ended: Callable[[Step, str, str], object]) -> None:
    """Take trainings on the workers of the scheduler at `address`, as many at a time as these have threads.

    ended: called with each step as it ends, why it failed (empty where it did not), and a line about it.
    Raises DataError where no scheduler or worker answers, or a worker cannot have the data.
    """
    with _connected(address) as client:
        from distributed import as_completed

        sources = {step.needs[0]: load(step.needs[0]).manifest["source"]["sha256"] for step in steps}
        _check_workers(client, {step.needs[0]: (step.data, step.run.treatment) for step in steps})
        futures = {}
        for step in steps:
            job = (step.words, step.output.name, step.data, step.run.treatment, sources[step.needs[0]])
            futures[client.submit(work, *job, key=str(step.output), retries=RETRIES)] = step
        for future in as_completed(futures):
            ended(futures[future], *_fetch(futures[future], future))
            future.release()


def work(words: tuple[str, ...], name: str, data: DataSet, treatment: str, sha256: str) -> tuple[int, str, dict]:
    """On a worker: train, and give back the exit status, what was said, and the run folder's files by name."""
    from distributed import Lock, Status, get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def stop_if_unwanted():
        task = worker.state.tasks.get(key)
        if task is None or task.state == "cancelled" or worker.status in (Status.closing, Status.closed):
            raise RuntimeError(f"{name} is not wanted any more")  # the study was stopped, or the worker

    # In the worker's own folder, which Dask clears also after a worker that was killed.
    with tempfile.TemporaryDirectory(dir=worker.local_directory) as scratch:
        log, output = Path(scratch) / "log", Path(scratch) / name
        with Lock(f"{socket.gethostname()}:{data.folder(treatment).resolve()}"):
            _prepare(data, treatment, sha256, log, stop_if_unwanted)
        status = child.run((*words, "--output", str(output)), log, stop_if_unwanted)
        files = {path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*") if path.is_file()}
        return status, log.read_text(errors="replace"), files


def _prepare(data: DataSet, treatment: str, sha256: str, log: Path, tick: Callable[[], object]) -> None:
    """On a worker: prepare the data set where it is not. Raises DataError where it cannot, or is another."""
    folder, here = data.folder(treatment), socket.gethostname()
    found = find_prepared(data, treatment)
    if found is None and child.run(preparation(data, treatment, found, analysis=False).words, log, tick):
        said = child.last_line(log.read_text(errors="replace"))
        raise DataError(f"worker {here} cannot prepare {folder}: {said}")
    if load(folder).manifest["source"]["sha256"] != sha256:
        raise DataError(f"worker {here} prepared {folder} from another file than the study's")


def _fetch(step: Step, future) -> tuple[str, str]:
    """Put what a worker sent where the run belongs: (why that failed, a line about it)."""
    try:
        status, said, files = future.result()
        step.log.parent.mkdir(parents=True, exist_ok=True)
        step.log.write_text(said)
        if status:
            return f"{child.last_line(said)} (log: {step.log})", ""
        with publish(step.output) as aside:
            for name, content in files.items():
                (aside / name).parent.mkdir(parents=True, exist_ok=True)
                (aside / name).write_bytes(content)
            # Raises where it is not what was asked for.
            training_warning(aside, step.run, step.data.name, load(step.needs[0]))
    except Exception as error:  # whatever a worker raises, or Dask where it gives a run up
        return " ".join(f"{type(error).__name__}: {error}".split()), ""
    return "", f"{step.output}: {child.last_line(said).partition(': ')[2]}"


@contextlib.contextmanager
def _connected(address: str) -> Iterator:
    """A client of the scheduler, with at least one worker behind it."""
    try:
        from distributed import Client
    except ImportError as error:
        raise DataError("--scheduler needs Dask: pip install -r requirements-cluster.txt") from error
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # a lost scheduler is told by its runs
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        raise DataError(f"no Dask scheduler answers at {address}") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=30)
        except TimeoutError as error:
            raise DataError(f"{address} has no worker; {START.format(address=address)}") from error
        yield client


def _check_workers(client, needed: dict[Path, tuple[DataSet, str]]) -> None:
    """Warn of workers whose code or packages are others; raise DataError where one cannot have the data."""
    own, everyone = commit(), client.get_versions(packages=PACKAGES)
    for address, state in client.run(_state_of_worker, list(needed.values()), on_error="return").items():
        if isinstance(state, Exception):  # most likely it cannot import this module
            raise DataError(f"worker {address}: {state}; {START.format(address='ADDRESS')}")
        worker_commit, problems = state
        if problems:
            raise DataError(f"worker {address}: {'; '.join(problems)}; prepare it there, or stop this worker")
        versions = {name: everyone["workers"][address]["packages"][name] for name in PACKAGES}
        here = {name: everyone["client"]["packages"][name] for name in PACKAGES}
        other = [f"{name} {version}, here {here[name]}" for name, version in versions.items() if version != here[name]]
        if worker_commit != own:
            other.insert(0, f"commit {worker_commit}, here {own}")
        if other:
            print(f"warning: worker {address} has {'; '.join(other)}", file=sys.stderr)


def _state_of_worker(needed: list[tuple[DataSet, str]]) -> tuple[str, list[str]]:
    """On a worker: its commit, and which data it neither has nor can prepare."""
    problems = [
        f"{data.folder(treatment)} is not prepared and {data.input} does not exist"
        for data, treatment in needed
        if find_prepared(data, treatment) is None and data.input is not None and not data.input.exists()
    ]
    return commit(), problems
