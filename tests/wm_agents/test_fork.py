"""What a forked child may do: train with torch, and log to TensorBoard."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")

TRAIN = """
import os, time
import torch
from wm_agents.networks import Perceptron
torch.set_num_threads(2)

def update():
    network = Perceptron((256, 256, 1), "relu", torch.Generator().manual_seed(0))
    loss = network(torch.ones(2048, 256)).square().mean()
    loss.backward()
    return float(loss.detach())

update()
child = os.fork()
if child == 0:
    update()
    os._exit(torch.get_num_threads())
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), torch.get_num_threads())
"""

LOG = """
import os, sys
from wm_agents.training.loggers import TensorBoardLogger
logger = TensorBoardLogger(sys.argv[1])
logger.log(0, {"loss": 1.0})
child = os.fork()
if child == 0:
    for step in range(100):
        logger.log(step, {"loss": 1.0})
    logger.close()
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
unused = os.fork()
if unused == 0:
    logger.close()
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(unused, 0)[1]))
logger.log(1, {"loss": 1.0})
logger.close()
"""


def output(program, *arguments):
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    run = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_a_child_trains_with_one_thread_after_its_parent_trained_with_several():
    assert output(TRAIN) == "1 2\n"


def test_a_child_logs_to_an_event_file_of_its_own(tmp_path):
    pytest.importorskip("tensorboard")
    assert output(LOG, str(tmp_path)) == "0\n0\n"
    assert len(list(tmp_path.iterdir())) == 2
