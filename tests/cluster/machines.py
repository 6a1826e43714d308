"""Several machines on one computer: each with a network, mounts, processes, a host name, /tmp and /dev/shm of its own.

They share one folder, as machines share NFS, and the installed packages. One alone sees the project. Needs
root, iproute2 and util-linux; what is made is a bridge, and a network namespace for each machine.
"""

import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from evergreen.core.files import read_json
from evergreen.core.paths import Paths
from tests.s3_server import KEYS

REPOSITORY = Path(__file__).resolve().parents[2]
PORT = 6379
START_SECONDS = 180
EVERGREEN = [sys.executable, "-m", "evergreen.cli.main"]
PIPELINE = """
task: classification
collect: {uri: "sklearn:wine"}
preprocess: {target: cultivar}
select: {architectures: [linear, mlp], effort: 0.3}
tune: {effort: 1, trials: 4}
train: {epochs: 6, workers: 2}
"""
TOOLS = ("ip", "nsenter", "unshare")


def lacking() -> str:
    """Return why machines cannot be made here, or nothing."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if sys.platform != "linux" or os.geteuid() or missing:
        return f"needs root on Linux{', and ' + ', '.join(missing) if missing else ''}"
    probe = f"egprobe{os.getpid()}"
    done = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", probe], capture_output=True, check=False)
    return done.stderr.strip()


class Machines:
    """Make, cut, kill and remove machines numbered from 1; Ray's head is on the first."""

    def __init__(self, base: Path, project: Path, home: int = 1) -> None:
        self.home = home  # the machine that has the project
        self.base, self.project, self.shared = base, project, base / "shared"
        self.mark = f"{os.getpid() % 10_000:04}"
        self.network = f"10.{100 + os.getpid() % 100}.77"
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.firsts: dict[int, int] = {}  # of each machine: the process whose end is that of all others
        self.shared.mkdir(parents=True)
        self.token = base / "token"
        self.token.touch(0o600)
        self.token.write_text(secrets.token_hex(32))
        _sh(f"ip link add egb{self.mark} type bridge && ip link set egb{self.mark} up")

    @property
    def address(self) -> str:
        """Return where Ray is."""
        return f"{self.network}.1:{PORT}"

    def add(
        self, number: int, *, n_cpus: int = 1, shares: bool = True, packages: str = "", has_ray: bool = True
    ) -> None:
        """Start a machine, and Ray on it; one that does not share has an empty folder in the place of storage.

        `packages` is a folder of Python packages that its Ray sees first.
        """
        name, cable, own = f"egn{self.mark}{number}", f"egc{self.mark}{number}", self.base / f"m{number}"
        (own / "mounted").mkdir(parents=True, exist_ok=True)
        _sh(f"ip netns add {name} && ip link add {cable} type veth peer name eth0 netns {name}")
        _sh(f"ip link set {cable} master egb{self.mark} up")
        _sh(f"ip -n {name} addr add {self.network}.{number}/24 dev eth0")
        _sh(f"ip -n {name} link set eth0 up && ip -n {name} link set lo up")
        (own / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 m{number}\n")  # as Debian writes it
        (own / "init").write_text(self._init(number, own, n_cpus, shares, packages, has_ray))
        inside = ["unshare", "-m", "-u", "-i", "-p", "-f", "--kill-child", "--mount-proc", "bash", str(own / "init")]
        with (own / "log").open("wb") as log:
            self.processes[number] = process = subprocess.Popen(
                ["ip", "netns", "exec", name, *inside],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait(lambda: "Ray runtime started" in (own / "log").read_text(), number)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        self.firsts[number] = int(children[0])

    def _init(self, number: int, own: Path, n_cpus: int, shares: bool, packages: str, has_ray: bool) -> str:
        """Return what a machine does when it starts."""
        tmp = own / "mounted" / "tmp"
        shown = (self.base, REPOSITORY, Path(sys.prefix), *([self.project] if number == self.home else ()))
        seen = [one for one in shown if one.is_relative_to("/tmp")]
        binds = [f"mkdir -p {tmp}{str(one)[4:]} && mount --rbind {one} {tmp}{str(one)[4:]}" for one in seen]
        dashboard = "" if self.home == 1 else " --dashboard-host=0.0.0.0"
        head = f"--head --port={PORT}{dashboard}" if number == 1 else f"--address={self.address}"
        ray = (
            f"{sys.prefix}/bin/ray start {head} --node-ip-address={self.network}.{number} --num-cpus={n_cpus} "
            "--object-store-memory=100000000 --disable-usage-stats --temp-dir=/tmp/ray --block"
        )
        lines = [
            "set -e",
            f"hostname m{number}",
            "mount --make-rprivate /",
            "mount -t tmpfs none /dev/shm",
            f"mount --bind {own}/hosts /etc/hosts",
            f"mount -t tmpfs none {self.project}" if number != self.home else "true",
            f"mount -t tmpfs none {own}/mounted && mkdir {own}/mounted/home {tmp}",
            *binds,
            f"mount --rbind {tmp} /tmp",
            "true" if shares else f"mount -t tmpfs none {self.shared}",
            f"export PYTHONPATH={packages}" if packages else "true",
            f"export {self._environment(own)}",
            "cd $HOME",
            ray if has_ray else "echo Ray runtime started elsewhere; exec sleep 100000",
        ]
        return "\n".join(lines) + "\n"

    def _environment(self, own: Path) -> str:
        facts = {
            "HOME": f"{own}/mounted/home",
            "PATH": f"{sys.prefix}/bin:$PATH",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": self.token,
            "RAY_USAGE_STATS_ENABLED": 0,
            **{name.upper(): value for name, value in KEYS.items()},
            "RAY_raylet_start_wait_time_s": START_SECONDS,
        }
        return " ".join(f"{name}={value}" for name, value in facts.items())

    def start(self, number: int, command: list[str]) -> subprocess.Popen[str]:
        """Start a command in the project, on a machine."""
        where = f"export {self._environment(self.base / f'm{number}')}; mkdir -p {self.project} && cd {self.project}"
        inner = f"{where} && exec {shlex.join(command)}"
        entered = ["nsenter", "-t", str(self.firsts[number]), "-m", "-n", "-u", "-i", "-p", "bash", "-c", inner]
        return subprocess.Popen(entered, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, number: int, *command: str, timeout_s: float = 300) -> str:
        """Run a command to its end; return what it printed. Raises AssertionError where it fails."""
        process = self.start(number, [*command])
        try:
            printed = process.communicate(timeout=timeout_s)[0]
        finally:
            process.kill()
        assert process.returncode == 0, printed
        return printed

    def cut(self, number: int, seconds: float) -> None:
        """Pull a machine's cable, and put it back after a while."""
        _sh(f"ip link set egc{self.mark}{number} down")
        time.sleep(seconds)
        _sh(f"ip link set egc{self.mark}{number} up")

    def switch_off(self, number: int) -> None:
        """Switch a machine off as a power cut does: nobody hears that its connections end."""
        _sh(f"ip link set egc{self.mark}{number} down")
        self.kill(number)

    def kill(self, number: int) -> None:
        """End all processes of a machine, and remove it."""
        os.kill(self.firsts.pop(number), signal.SIGKILL)
        self.processes.pop(number).wait()
        for what in (f"netns del egn{self.mark}{number}", f"link del egc{self.mark}{number}"):
            subprocess.run(["ip", *what.split()], capture_output=True, check=False)

    def remove(self) -> None:
        """Switch all machines off, and remove the network."""
        for number in sorted(self.firsts, reverse=True):
            self.kill(number)
        subprocess.run(["ip", "link", "del", f"egb{self.mark}"], capture_output=True, check=False)

    def _wait(self, happened, number: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not happened():
            log = (self.base / f"m{number}" / "log").read_text()
            assert self.processes[number].poll() is None, log
            assert time.monotonic() < deadline, log
            time.sleep(0.1)


def run_stage(root: Path, name: str) -> None:
    """Run a stage of the project `small` on this machine."""
    done = subprocess.run([*EVERGREEN, "stage", name, "small"], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def made(paths: Paths) -> tuple[dict, dict, bytes]:
    """Return what was chosen and learned, without what a clock measured."""
    select, tune = read_json(paths.select), read_json(paths.tune)
    board = [(one["architecture"], one["score"]) for one in select["leaderboard"]]
    trials = [(one["options"], one["score"]) for one in tune["trials"]]
    weights = next(paths.candidate.glob("*.safetensors")).read_bytes()
    return (select["architecture"], sorted(board)), (tune["options"], trials), weights


def wait_for(happened, timeout_s: float = 120) -> None:
    """Wait until something is the case."""
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _sh(command: str) -> None:
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stderr}"
