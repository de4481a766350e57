"""A study over two Dask workers, each in a folder of its own, one of them killed in the middle of a training."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from data_prep.synthetic.sampler import sample
from models.provenance import commit
from tests.test_study import ROOT, alive, children_of, linux, wait_for

pytest.importorskip("distributed", reason="Dask is not installed (requirements-cluster.txt has it)")
pytestmark = [pytest.mark.slow, linux]

STUDY = """
[data.tiny]
source = "synthetic"
options = ["--count", "80"]
[seeds]
quick = [0, 1]
[[train]]
models = ["base"]
recipes = ["quick"]
treatments = ["none"]
epochs = 10
"""
RUNS = [f"base-quick+epochs=10-none-s{seed}" for seed in range(2)]
# Sums come in another order on another number of threads, so all have one.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
ENVIRONMENT = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT)}
OF_THE_MACHINE = {"train_seconds", "train_cpu_seconds", "commit", "command"}


class Cluster:
    """A scheduler and workers on this machine, each started as the head of evaluation/cluster.py says."""

    def __init__(self, folder):
        self.folder, self.processes = folder, {}
        self.start("scheduler", "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", "address.json")
        self.file = folder / "scheduler/address.json"
        wait_for(self.file.exists)
        self.address = json.loads(self.file.read_text())["address"]

    def add_worker(self, name, **environment):
        options = ("--nthreads", "1", "--no-nanny", "--local-directory", str(self.folder / name / "scratch"))
        return self.start(name, "worker", self.address, "--name", name, *options, **environment)

    def start(self, name, *words, **environment):
        (self.folder / name).mkdir()
        with open(self.folder / f"{name}.log", "w") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "dask", *words, "--no-dashboard"],
                cwd=self.folder / name, env={**ENVIRONMENT, **environment}, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        return self.processes[name]

    def training(self, name):
        """The process that trains for this worker, once the network learns; else None."""
        logs = (self.folder / name / "scratch").rglob("log")
        begun = any("Epoch 2/" in log.read_text(errors="replace") for log in logs)
        return next(iter(children_of(self.processes[name].pid)), None) if begun else None

    def close(self):
        for process in self.processes.values():
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.close()


@pytest.fixture
def start_study():
    """A function that starts a study in a new folder; what still runs at the end of the test is killed."""
    started = []

    def start(folder, *options, text=STUDY, table=""):
        folder.mkdir(exist_ok=True)
        (folder / "training.csv").write_text(table)
        (folder / "tiny.toml").write_text(text)
        study = subprocess.Popen(
            [sys.executable, "-m", "evaluation.study", "tiny.toml", *options],
            cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        started.append(study)
        return study

    yield start
    for study in started:
        study.kill()
        study.communicate()


def finished(study):
    out, error = study.communicate(timeout=600)
    assert study.returncode == 0, out + error
    return out


def refused(study):
    """The one line of a study that ends with exit code 2."""
    _, error = study.communicate(timeout=600)
    assert study.returncode == 2, error
    (line,) = error.splitlines()
    return line.removeprefix("evaluation.study: error: ")


def table(folder):
    with open(folder / "results/tiny/performance.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k not in OF_THE_MACHINE} for row in csv.DictReader(file)]


def predictions(folder):
    return {name: (folder / "results/tiny/runs" / name / "predictions.npz").read_bytes() for name in RUNS}


def test_a_killed_worker_changes_nothing(cluster, start_study, tmp_path):
    here = start_study(tmp_path / "here")
    finished(here)
    shutil.copytree(tmp_path / "here/data", tmp_path / "spread/data")

    lost, _ = cluster.add_worker("lost"), cluster.add_worker("kept")
    study = start_study(tmp_path / "spread", "--scheduler", cluster.address)
    wait_for(lambda: cluster.training("lost"))  # on data that it has prepared in its own folder
    training = cluster.training("lost")
    assert alive(training)
    lost.kill()
    lost.wait()
    wait_for(lambda: not alive(training), seconds=30)
    finished(study)

    assert table(tmp_path / "spread") == table(tmp_path / "here")
    assert predictions(tmp_path / "spread") == predictions(tmp_path / "here")
    # Each came from the worker that was left, the run of the lost one too.
    for name in RUNS:
        assert f"--output {tmp_path}/kept/scratch/" in (tmp_path / f"spread/runs/tiny/{name}.log").read_text()
        assert (tmp_path / f"spread/runs/tiny/{name}/model.keras").stat().st_size > 1e6


def test_an_interrupted_study_stops_its_workers(cluster, start_study, tmp_path):
    worker = cluster.add_worker("worker")
    text = STUDY.replace("epochs = 10", "epochs = 1000")
    study = start_study(tmp_path / "spread", "--scheduler", cluster.address, text=text)
    wait_for(lambda: cluster.training("worker"))
    training = cluster.training("worker")
    study.send_signal(signal.SIGINT)
    _, error = study.communicate(timeout=600)
    assert study.returncode == 130
    assert error.splitlines()[-1] == "evaluation.study: stopped; the same command goes on from here"
    wait_for(lambda: not alive(training), seconds=30)
    assert worker.poll() is None


def test_other_code_is_warned_of_and_a_failed_run_reported(cluster, start_study, tmp_path):
    # A copy without git has no commit; Keras has no backend of this name.
    for floor in ("data_prep", "models", "evaluation"):
        shutil.copytree(ROOT / floor, tmp_path / "copy" / floor)
    cluster.add_worker("worker", PYTHONPATH=str(tmp_path / "copy"), KERAS_BACKEND="abacus")
    text = STUDY.replace("[0, 1]", "[0]")
    study = start_study(tmp_path / "spread", "--scheduler", cluster.address, text=text)
    _, error = study.communicate(timeout=600)
    assert study.returncode == 1, error
    assert f"has commit unknown, here {commit()}" in error
    failed = next(line for line in error.splitlines() if line.startswith("evaluation.study: failed: "))
    assert failed.startswith(f"evaluation.study: failed: runs/tiny/{RUNS[0]}: ")
    assert "abacus" in failed
    assert "Traceback" in (tmp_path / f"spread/runs/tiny/{RUNS[0]}.log").read_text()
    assert not (tmp_path / "spread/runs/tiny" / RUNS[0]).exists()


def test_a_worker_that_was_started_elsewhere_is_refused(cluster, start_study, tmp_path):
    cluster.add_worker("worker", PYTHONPATH="")
    error = refused(start_study(tmp_path / "spread", "--scheduler", cluster.address))
    assert "No module named 'evaluation'" in error
    assert "start one in a clone of this project: " in error


def test_a_worker_without_the_data_is_refused(cluster, start_study, tmp_path, csv_text):
    cluster.add_worker("worker")
    faces = sample(80, seed=0)
    table = csv_text(faces.keypoints, faces.images)
    text = STUDY.replace('"synthetic"\noptions = ["--count", "80"]', '"kaggle"\ninput = "training.csv"')
    study = start_study(tmp_path / "spread", "--scheduler", cluster.address, text=text, table=table)
    error = refused(study)
    assert "data/prepared/tiny-none is not prepared and training.csv does not exist; prepare it there" in error


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x"])
def test_a_scheduler_that_does_not_answer_is_said_in_one_line(start_study, tmp_path, address):
    error = refused(start_study(tmp_path / "spread", "--scheduler", address))
    assert error == f"no Dask scheduler answers at {address}"
