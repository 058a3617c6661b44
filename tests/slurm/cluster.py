"""A Slurm cluster on one machine: every node is a network namespace with a cable to a bridge, a host
name and a slurmd of its own; slurmctld and the tests are at the bridge. All share the file system.
"""
import os
import shutil
import signal
import subprocess
import tempfile
import time

PROGRAMS = ["slurmctld", "slurmd", "munged", "srun", "sbatch", "scontrol", "ip", "nsenter", "unshare"]
ENV = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
STARTS_S = 60  # generous: what does not start in that time is reported


class Unable(Exception):
    """Why there can be no cluster here."""


def run(*command, **kwargs):
    done = subprocess.run([str(part) for part in command], text=True, capture_output=True, env=ENV,
                          check=False, **kwargs)
    if done.returncode != 0:
        raise Unable(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


class Cluster:
    def __init__(self, n_nodes):
        self.nodes = [f"n{i + 1}" for i in range(n_nodes)]
        self.prefix = f"hs{os.getpid() % 100000}"
        self.net = f"10.{80 + os.getpid() % 100}.{os.getpid() // 100 % 250}"
        self.processes = []
        self.folder = tempfile.mkdtemp(prefix="hsd-slurm-")
        os.chmod(self.folder, 0o755)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def namespace(self, node):
        return f"{self.prefix}-{node}"

    def __enter__(self):
        missing = [name for name in PROGRAMS if not shutil.which(name, path=ENV["PATH"])]
        if missing:
            raise Unable(f"{', '.join(missing)} not installed")
        if os.geteuid() != 0:
            raise Unable("namespaces and slurmd need root")
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self):
        self.make_network()
        self.write_configuration()
        ENV["SLURM_CONF"] = self.path("slurm.conf")
        self.spawn("munged", ["munged", "--foreground", "--force", "--key-file",
                              self.path("munge", "key"), "--socket", self.path("munge.sock"),
                              "--pid-file", self.path("munge", "pid"), "--log-file",
                              self.path("munge", "log"), "--seed-file", self.path("munge", "seed")])
        self.wait_for("munge's socket", lambda: os.path.exists(self.path("munge.sock")))
        self.spawn("slurmctld", ["unshare", "--uts", "sh", "-c",
                                 "hostname ctl; exec slurmctld -D"])
        for node in self.nodes:
            # Not `ip netns exec`, which hides the control groups that slurmd wants.
            self.spawn(node, ["nsenter", f"--net=/run/netns/{self.namespace(node)}", "unshare",
                              "--uts", "sh", "-c", f"hostname {node}; exec slurmd -D -N {node}"])
        self.wait_for("all nodes", lambda: self.n_idle() == len(self.nodes))

    def make_network(self):
        bridge = self.prefix + "b"
        run("ip", "link", "add", bridge, "type", "bridge")
        run("ip", "addr", "add", f"{self.net}.1/24", "dev", bridge)
        run("ip", "link", "set", bridge, "up")
        for i, node in enumerate(self.nodes):
            space, cable = self.namespace(node), self.prefix + node
            run("ip", "netns", "add", space)
            run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
            run("ip", "link", "set", cable, "master", bridge, "up")
            run("ip", "-n", space, "addr", "add", f"{self.net}.{11 + i}/24", "dev", "eth0")
            run("ip", "-n", space, "link", "set", "eth0", "up")
            run("ip", "-n", space, "link", "set", "lo", "up")

    def plug(self, node, is_in):
        """Pull the cable of a node, or plug it in again."""
        run("ip", "link", "set", self.prefix + node, "up" if is_in else "down")

    def write_configuration(self):
        os.mkdir(self.path("munge"), 0o700)
        os.mkdir(self.path("state"), 0o700)
        with open(self.path("munge", "key"), "wb") as file:
            file.write(os.urandom(1024))
        os.chmod(self.path("munge", "key"), 0o600)
        lines = [
            "ClusterName=hsd", f"SlurmctldHost=ctl({self.net}.1)", "SlurmUser=root",
            "SlurmdUser=root", "AuthType=auth/munge", f"AuthInfo=socket={self.path('munge.sock')}",
            f"StateSaveLocation={self.path('state')}", f"SlurmdSpoolDir={self.path('spool.%n')}",
            f"SlurmctldPidFile={self.path('ctl.pid')}", f"SlurmdPidFile={self.path('%n.pid')}",
            f"SlurmctldPort={16817 + os.getpid() % 1000}", "SlurmdPort=6818",
            "ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none",
            "JobAcctGatherType=jobacct_gather/none", "MpiDefault=none", "SwitchType=switch/none",
            "AccountingStorageType=accounting_storage/none", "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_CPU", "ReturnToService=2", "SlurmdTimeout=3600",
            "SlurmdParameters=config_overrides", "KillWait=2", "MessageTimeout=60"]
        lines += [f"NodeName={node} NodeAddr={self.net}.{11 + i} CPUs=2 RealMemory=1024 State=UNKNOWN"
                  for i, node in enumerate(self.nodes)]
        lines += ["PartitionName=all Nodes=ALL Default=YES State=UP OverSubscribe=FORCE:4"]
        with open(self.path("slurm.conf"), "w", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")
        with open(self.path("cgroup.conf"), "w", encoding="ascii") as file:
            is_2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
            file.write("CgroupPlugin=cgroup/v2\nIgnoreSystemd=yes\n" if is_2 else
                       "CgroupPlugin=cgroup/v1\n")

    def spawn(self, name, command):
        log = open(self.path(name + ".out"), "w", encoding="utf-8")
        self.processes.append((name, subprocess.Popen(command, stdout=log, stderr=log, env=ENV,
                                                      stdin=subprocess.DEVNULL,
                                                      start_new_session=True)))
        log.close()

    def said(self, name):
        with open(self.path(name + ".out"), encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-4:])

    def wait_for(self, what, is_there):
        end = time.monotonic() + STARTS_S
        while not is_there():
            for name, process in self.processes:
                if process.poll() is not None:
                    raise Unable(f"{name} ended: {self.said(name)}")
            if time.monotonic() > end:
                raise Unable(f"{what} did not come: " +
                             "".join(self.said(name) for name, _ in self.processes))
            time.sleep(0.2)

    def n_idle(self):
        try:
            return run("sinfo", "-h", "-N", "-o", "%t").split().count("idle")
        except Unable:
            return 0

    def __exit__(self, *exc):
        for _, process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
        for _, process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        for node in self.nodes:
            subprocess.run(["ip", "netns", "del", self.namespace(node)], env=ENV, check=False,
                           stderr=subprocess.DEVNULL)
        subprocess.run(["ip", "link", "del", self.prefix + "b"], env=ENV, check=False,
                       stderr=subprocess.DEVNULL)
        shutil.rmtree(self.folder, ignore_errors=True)
