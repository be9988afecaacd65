"""Programs run in forks of one process that has imported them: hundreds of command lines without hundreds of imports.

`python program_server.py MODULE ...` imports the modules, then reads lines of JSON, {"module", "argv", "folder"}, and
answers each with {"status", "stdout", "stderr"}. It never computes anything itself, so that a fork is clean.
"""

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

SECONDS = 60  # of one command line
MEMORY = 16 * 2**30  # bytes of address space: an option may not fill the machine
PACKAGE = "espnet2_secap.bin."


class ProgramServer:
    """Runs programs of espnet2_secap/bin; a context manager.

    Args:
        programs: names, such as "sec_score"; imported once.
        preload: further modules.
    """

    def __init__(self, programs: list[str], preload: list[str] = ()):
        modules = [*preload, *(PACKAGE + name for name in programs)]
        root = str(Path(__file__).resolve().parents[1])
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [sys.executable, __file__, *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=os.environ | {"PYTHONPATH": root, "PYTHONWARNINGS": "ignore", "PYTHONUTF8": "1"},
        )

    def __enter__(self) -> "ProgramServer":
        return self

    def __exit__(self, *_) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()

    def run(self, program: str, argv: list[str], folder) -> tuple[int, str, str]:
        """Exit status (below 0: minus the signal that ended it), stdout and stderr of a command line in a folder."""
        print(json.dumps([PACKAGE + program, argv, str(folder)]), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            raise RuntimeError(f"the server has ended: {self.log.read().decode('utf-8', 'replace')[-2000:]}")
        return tuple(json.loads(line))


def _child(module: str, argv: list[str], folder: str, files) -> None:
    os.setsid()  # what it starts ends with it
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, file in enumerate(files, 1):
        os.dup2(file.fileno(), number)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.alarm(SECONDS)
    os.chdir(folder)
    sys.argv = [module.rsplit(".", 1)[1], *argv]
    status = 0
    try:
        sys.modules[module].main(argv)
    except SystemExit as err:
        status = err.code if isinstance(err.code, int) else int(err.code is not None)
        if isinstance(err.code, str):
            print(err.code, file=sys.stderr)
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def serve(modules: list[str]) -> None:
    """Import, then fork for each line of stdin."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for name in modules:
        importlib.import_module(name)
    for line in sys.stdin:
        module, argv, folder = json.loads(line)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            pid = os.fork()
            if pid == 0:
                _child(module, argv, folder, (out, err))
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode("utf-8", "replace"))
        print(json.dumps([status, *texts]), file=answers, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1:])
