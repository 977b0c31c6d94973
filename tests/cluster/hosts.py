"""Several hosts on one machine: network, UTS, IPC, mount and pid namespaces, joined by a bridge. Each has a name (h1, h2, ...), an address, a /tmp, a
/dev/shm and processes of its own; the rest of the file system is shared, as on a cluster.

All of it is held by processes that end when this one does, however it ends: namespaces have no names, and nothing of a host is seen outside of it. So
there is nothing to clean up."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
NAMESPACES = ["--net", "--uts", "--ipc", "--mount", "--pid"]
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
NETWORK = "10.77.0."


def run(*words, **options):
    return subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          **{"env": {**os.environ, "PATH": PATH}, **options})


def why_not():
    """Why hosts cannot be made here; empty where they can."""
    for program in ("unshare", "nsenter", "ip", "mount", "pgrep", "taskset"):
        if not shutil.which(program, path=PATH):
            return f"{program} is not installed"
    tries = "ip link add eth0 type veth peer name h1 && ip link add bridge type bridge && mount -t tmpfs tmpfs /dev/shm"
    done = run("unshare", *NAMESPACES, "--fork", "--mount-proc", "sh", "-c", tries)
    return "" if done.returncode == 0 else f"namespaces are not allowed here: {done.stdout.strip().splitlines()[-1]}"


def has_netem():
    return run("unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms").returncode == 0


def child_of(pid):
    """The one child of a process."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        children = run("pgrep", "-P", pid).stdout.split()
        if children:
            return int(children[0])
        time.sleep(0.01)
    raise AssertionError(f"process {pid} has no child")


class Host:
    """One host. `environment`: what a login has there; `cores`: numbers of its cores."""

    def __init__(self, number, folder, hosts_file, shared, cores, environment):
        self.name, self.address, self.cores = f"h{number}", f"{NETWORK}{number}", cores
        self.environment = {"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8", **environment}
        (folder / self.name).mkdir()
        given = {"name": self.name, "folder": str(folder / self.name), "hosts_file": str(hosts_file), "shared": shared, "cores": cores, "environment": self.environment}
        self.holder = subprocess.Popen(["unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc", sys.executable, "-Is", HERE / "host.py", json.dumps(given)],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PATH": PATH}, start_new_session=True)
        self.first = child_of(self.holder.pid)

    def wait_until_ready(self):
        assert self.holder.stdout.readline() == "ready\n", f"{self.name} does not come up"

    def command(self, *words, environment=None):
        """The words that run a command on this host, in the folder where we are."""
        variables = {**self.environment, **(environment or {})}
        return ["nsenter", "-t", str(self.first), *NAMESPACES, "--", "taskset", "-c", ",".join(map(str, self.cores)), "env", "-i", "-C", os.getcwd(),
                *(f"{k}={v}" for k, v in variables.items()), *map(str, words)]

    def run(self, *words, **options):
        return run(*self.command(*words), **options)

    def die(self):
        """All of its processes end at once, and its link goes down."""
        self.holder.kill()  # it holds the first process, and that one all others
        self.holder.wait()

    def alive(self):
        return self.holder.poll() is None


class Cluster:
    """Hosts h1 to hN. `cores` and `environments` of each host, where they are not all alike; `late`: milliseconds that a message takes to a host and
    back, by name."""

    def __init__(self, hosts, cores=None, environments=None, late=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="concord-hosts-"))
        self.hosts, self.holders, self.late = [], [], late or {}
        everything = sorted(os.sched_getaffinity(0))
        try:
            hosts_file = self.folder / "hosts"
            hosts_file.write_text("127.0.0.1 localhost\n" + "".join(f"{NETWORK}{i} h{i}\n" for i in range(1, hosts + 1)))
            self.switch = self.hold("unshare", "--net", "cat")
            for i in range(hosts):
                self.hosts.append(Host(i + 1, self.folder, hosts_file, shared_folders(), cores[i] if cores else everything, environments[i] if environments else {}))
            for host in self.hosts:
                host.wait_until_ready()
            self.in_switch("ip", "link", "add", "bridge", "type", "bridge", "forward_delay", "0")
            self.in_switch("ip", "link", "set", "bridge", "up")
            for host in self.hosts:
                self.join(host)
            shutil.rmtree(self.folder)  # hosts have what was in it
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def __getitem__(self, name):
        return next(host for host in self.hosts if host.name == name)

    def in_switch(self, *words):
        done = run("nsenter", "-t", self.switch.pid, "--net", "--", *words)
        assert done.returncode == 0, f"{words}: {done.stdout}"

    def hold(self, *words):
        """A process that ends with this one: its standard input does."""
        self.holders.append(subprocess.Popen([str(word) for word in words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
                                             env={**os.environ, "PATH": PATH}))
        return self.holders[-1]

    def join(self, host):
        if host.name in self.late and not has_netem():
            relay = self.hold(sys.executable, "-Is", HERE / "slow_link.py", host.first, self.switch.pid, host.name, self.late[host.name] / 2)
            assert relay.stdout.readline() == "ready\n", f"no late link to {host.name}"
            self.in_switch("ip", "link", "set", host.name, "master", "bridge", "up")
            self.address(host)
            return
        done = run("ip", "link", "add", "eth0", "netns", host.first, "type", "veth", "peer", "name", host.name, "netns", self.switch.pid)
        assert done.returncode == 0, done.stdout
        self.in_switch("ip", "link", "set", host.name, "master", "bridge", "up")
        self.address(host)
        if host.name in self.late:
            for command, device in ((self.in_switch, host.name), (host.run, "eth0")):
                command("tc", "qdisc", "add", "dev", device, "root", "netem", "delay", f"{self.late[host.name] / 2}ms")

    def address(self, host):
        for words in (["link", "set", "lo", "up"], ["addr", "add", f"{host.address}/24", "dev", "eth0"], ["link", "set", "eth0", "up"]):
            done = host.run("ip", *words)
            assert done.returncode == 0, done.stdout

    def cut(self, host):
        """Takes the host's link down; nobody is told."""
        self.in_switch("ip", "link", "set", host.name, "down")

    def mend(self, host):
        self.in_switch("ip", "link", "set", host.name, "up")

    def mpirun(self, slots, *words, flags=(), environment=None):
        """The words of an mpirun on the first host of `slots`: {"h1": 2, "h2": 1}."""
        first = self[next(iter(slots))]
        variables = {"OMP_NUM_THREADS": "1", "OMPI_MCA_mpi_yield_when_idle": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", **(environment or {})}
        where = ",".join(f"{host}:{ranks}" for host, ranks in slots.items())
        return first.command("mpirun", "--bind-to", "none", "-H", where, "--mca", "plm_rsh_agent", HERE / "agent", "-x", "OMP_NUM_THREADS", *flags, *words, environment=variables)

    def start(self, slots, *words, to=subprocess.PIPE, **options):
        """An mpirun in the background, its output in a pipe or in the file `to`."""
        return subprocess.Popen(self.mpirun(slots, *words, **options), stdin=subprocess.DEVNULL, stdout=to, stderr=subprocess.STDOUT, text=True, errors="replace",
                                start_new_session=True)

    def stop(self):
        everything = [*(host.holder for host in self.hosts), *self.holders]
        for process in everything:
            process.kill()
        for process in everything:
            process.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)


def shared_folders():
    """What hosts must see alike, also where it lies below /tmp."""
    named = [os.environ.get("CONCORD", ""), os.environ.get("CONCORD_SOURCE", ""), os.getcwd() + "/x", sys.prefix + "/x", str(HERE)]
    found = {os.path.dirname(os.path.abspath(n)) for n in named if n} | {os.path.dirname(os.path.realpath(n)) for n in named if n}
    return sorted(found)
