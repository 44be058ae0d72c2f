"""Processes are forked from one that has their libraries; another purpose in the same program gets processes of its own."""

import multiprocessing
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
from patchfree.forks import Forks

def told(sender):
    sender.send((os.environ.get("COLOUR"), os.getppid(), "colorsys" in sys.modules))

def asked(context):
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=told, args=(sender,))
    process.start()
    answer = receiver.recv()
    process.join()
    return answer

if __name__ == "__main__":
    one, other = Forks(("colorsys",), {"COLOUR": "red"}), Forks(("wave",), {"COLOUR": "blue"})
    colour, parent, loaded = asked(one.context())
    assert colour == "red" and parent != os.getpid() and loaded
    assert asked(one.context()) == (colour, parent, loaded)
    assert "COLOUR" not in os.environ
    assert other.context().get_start_method() == "spawn"
    assert asked(other.context()) == (None, os.getpid(), False)
"""


@pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="this system has no fork server"
)
def test_the_first_purpose_is_forked_and_another_one_starts_anew(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
