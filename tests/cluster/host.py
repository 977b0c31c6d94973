"""The first process of a host (hosts.py): gives it a name, a /tmp, a /dev/shm and an /etc/hosts of its own, and runs the commands that the launch agent
of another host asks for, as sshd would. It ends, and with it all processes of the host, when its standard input does: when the test is gone."""
import json
import os
import select
import signal
import socket
import subprocess
import sys

PORT = 7722


def sh(*words):
    subprocess.run([str(word) for word in words], check=True)


def own_files(host):
    """What hosts share stays where it is, also below /tmp."""
    stage = host["folder"]
    sh("mount", "-t", "tmpfs", "tmpfs", stage)
    os.chmod(stage, 0o1777)
    for path in host["shared"]:
        if path.startswith("/tmp/"):
            os.makedirs(stage + path[4:], exist_ok=True)
            sh("mount", "--rbind", path, stage + path[4:])
    sh("mount", "--bind", host["hosts_file"], "/etc/hosts")
    sh("mount", "-t", "tmpfs", "tmpfs", "/dev/shm")
    sh("mount", "--rbind", stage, "/tmp")


def session(connection, environment):
    """Runs the command that comes as a line; its exit code is the last line of the answer."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    command = connection.makefile("rb").readline().decode()
    done = subprocess.run(["bash", "-c", command], stdin=subprocess.DEVNULL, stdout=connection, stderr=connection, env=environment, cwd="/", check=False)
    connection.sendall(b"\n%d\n" % done.returncode)


def main():
    host = json.loads(sys.argv[1])
    socket.sethostname(host["name"])
    own_files(host)
    os.sched_setaffinity(0, host["cores"])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody else waits for the orphans of a host
    listener = socket.create_server(("0.0.0.0", PORT))
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([sys.stdin, listener], [], [])
        if sys.stdin in ready:
            os._exit(0)
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            session(connection, host["environment"])
            os._exit(0)
        connection.close()


if __name__ == "__main__":
    main()
