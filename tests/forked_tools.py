"""A ``python`` for tests that starts the project's tools at once, in forks of a process that has imported everything.

A tool needs seven seconds of imports, and the suite starts some hundred of them. ``sys.executable`` of the tests is a
client. It hands its command, environment and files to a server and ends as the fork does: exit code or signal. What
asks for a fresh interpreter (``-c``, a PYTHON* variable, another file than a tool) gets the real one. FRESH_PYTHON is
its path, for tests that kill a process or limit it.
"""

import fcntl
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

FRESH_PYTHON = os.environ.get('CRATE_FRESH_PYTHON', sys.executable)
ROOT = Path(__file__).resolve().parent.parent
LAUNCH = ['-m', 'torch.distributed.run']
HARMLESS = {'PYTHON', 'PYTHONPATH', 'PYTHONUNBUFFERED', 'PYTHONDONTWRITEBYTECODE'}  # the first is of tools/*.sh
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PRELOADED = (
    'projects.crate',
    'mmdet.engine mmdet.evaluation mmdet.datasets mmdet.models mmdet.visualization',
    'mmseg.engine mmseg.evaluation mmseg.datasets mmseg.models mmseg.visualization',
    'mmpretrain.engine mmpretrain.evaluation mmpretrain.datasets mmpretrain.models mmpretrain.visualization',
    'matplotlib.pyplot scipy.sparse.linalg scipy.ndimage pycocotools.cocoeval sklearn.decomposition rich.progress',
    'matplotlib.backends.backend_agg PIL.JpegImagePlugin PIL.PngImagePlugin setuptools.dist',
)


def write_client(folder):
    """Write the program that stands for ``python``, and return its path."""
    path = Path(folder, 'python')
    call = f'forked_tools.ask({FRESH_PYTHON!r}, {str(folder)!r}, {os.getpid()})'
    path.write_text(f'#!{FRESH_PYTHON} -SEs\nimport sys\nsys.path.insert(0, {str(ROOT / "tests")!r})\n')
    with path.open('a') as file:
        file.write(f'import forked_tools\n{call}\n')
    path.chmod(0o755)
    return path


def ask(python, folder, suite):
    """Run the command line in a fork if it starts a tool, else in a fresh interpreter; end as it ends."""
    words = [word for word in sys.argv[1:] if word != '-u']
    paths = {str(Path(path).resolve()) for path in os.environ.get('PYTHONPATH', '').split(os.pathsep) if path}
    tool = words[:1] and Path(words[0]).suffix == '.py' and ROOT / 'tools' in Path(words[0]).resolve().parents
    asked = {key for key in os.environ if key.startswith('PYTHON')} - HARMLESS
    if not (tool or words[:2] == LAUNCH) or asked or paths - {str(ROOT), str(ROOT / 'tests')}:
        os.execv(python, [python, *sys.argv[1:]])
    connection = _connect(python, Path(folder), suite)
    ignored = [number for number in SIGNALS if signal.getsignal(number) == signal.SIG_IGN]
    request = [words, str(Path.cwd()), dict(os.environ), sys.argv[1] == '-u', ignored]
    request = json.dumps(request).encode(errors='surrogatepass')
    socket.send_fds(connection, [len(request).to_bytes(8, 'big')], [0, 1, 2])
    connection.sendall(request)
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, _: connection.sendall(bytes([number])))
    status = json.loads(connection.recv(64) or '137')
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _connect(python, folder, suite):
    """Connect to the server; the first who asks starts it."""
    address = str(folder / 'socket')
    with (folder / 'lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not Path(address).exists():
            environment = {key: value for key, value in os.environ.items() if not key.startswith('COV')}
            environment.update(PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / 'tests')]), OMP_NUM_THREADS='1')
            command = [python, __file__, address, str(suite)]
            with (folder / 'log').open('w') as log:
                files = dict(stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                server = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **files)
            while not Path(address).exists():
                if server.poll() is not None:
                    sys.exit(f'the server of tests/forked_tools.py ended:\n{(folder / "log").read_text()}')
                time.sleep(0.05)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    return connection


class Server:
    """Forks once per connection, passes on signals, reports how the fork ended; ends with the suite."""

    def __init__(self, address, suite):
        self.suite = suite
        self.processes = {}  # connection -> number of the process
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(address + '.new')
        self.listener.listen(64)
        Path(address + '.new').rename(address)
        self.wake, end = os.pipe()
        os.set_blocking(end, False)
        signal.set_wakeup_fd(end)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self):
        """Return in a fork alone, with its request."""
        while Path(f'/proc/{self.suite}').exists():
            ready, _, _ = select.select([self.listener, self.wake, *self.processes], [], [], 1)
            if self.wake in ready:
                os.read(self.wake, 512)
            self.report()
            if self.listener in ready:
                request = self.accept()
                if request is not None:
                    return request
            for connection in set(ready) & self.processes.keys():
                self.pass_on(connection)
        os._exit(0)

    def accept(self):
        connection, _ = self.listener.accept()
        size, files, _, _ = socket.recv_fds(connection, 8, 3)
        request = b''
        while len(request) < int.from_bytes(size, 'big'):
            request += connection.recv(65536)
        number = os.fork()
        if number:
            self.processes[connection] = number
            for file in files:
                os.close(file)
            return None
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for one in (self.listener, connection, *self.processes):
            one.close()
        os.setsid()
        for target, file in enumerate(files):
            os.dup2(file, target)
            os.close(file)
        return json.loads(request.decode(errors='surrogatepass'))

    def pass_on(self, connection):
        """Pass on a signal; end a fork whose client is gone."""
        text = connection.recv(1)
        number = self.processes[connection]
        os.killpg(number, text[0] if text else signal.SIGKILL)
        if not text:
            os.waitpid(number, 0)
            del self.processes[connection]

    def report(self):
        """Tell the clients whose forks ended."""
        for connection, number in [*self.processes.items()]:
            found, status = os.waitpid(number, os.WNOHANG)
            if found:
                del self.processes[connection]
                connection.sendall(json.dumps(status).encode())
                connection.close()


def run(words, folder, environment, unbuffered, ignored):
    """Be a fresh process that runs a tool."""
    import random
    import runpy

    import numpy as np

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    random.seed()
    np.random.seed()  # as a new process does; mmengine draws its seeds there
    for number in SIGNALS:  # of the client: the server may have been started in the background, where Ctrl-C is ignored
        handler = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in ignored else handler)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, 'w', closefd=False, buffering=1 if os.isatty(1) or unbuffered else -1)  # noqa: SIM115
    sys.stderr = open(2, 'w', closefd=False, buffering=1, errors='backslashreplace')  # noqa: SIM115
    sys.executable = environment.get('CRATE_PYTHON', sys.executable)
    if words[:2] == LAUNCH:
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name='__main__', alter_sys=True)
    else:
        sys.argv = words
        sys.path[0] = str(Path(words[0]).resolve().parent)
        runpy.run_path(words[0], run_name='__main__')


if __name__ == '__main__':
    from importlib import import_module

    for name in ' '.join(PRELOADED).split():
        import_module(name)
    gc.freeze()  # or a fork takes 3 s to end, since it looks at every object once more
    run(*Server(sys.argv[1], int(sys.argv[2])).serve())
