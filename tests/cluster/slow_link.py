"""A link that is late: joins two TAP devices, one in a host and one in the switch, and hands each frame on after a while. For machines whose kernel has
no netem.  slow_link.py PID_OF_HOST PID_OF_SWITCH NAME_IN_SWITCH MILLISECONDS_ONE_WAY; ends with its standard input."""
import collections
import ctypes
import fcntl
import os
import select
import struct
import sys
import time

CLONE_NEWNET, TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x40000000, 0x400454CA, 0x2, 0x1000
LIBC = ctypes.CDLL(None, use_errno=True)


def tap(pid, name):
    """A new TAP device in the network of a process."""
    network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    if LIBC.setns(network, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return device


def hand_on(ends, seconds):
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    waiting = collections.deque()  # (when, where to, frame)
    while True:
        patience = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        ready, _, _ = select.select([sys.stdin, *ends], [], [], patience)
        if sys.stdin in ready:
            return
        for end in ready:
            try:
                while True:
                    waiting.append((time.monotonic() + seconds, other[end], os.read(end, 65536)))
            except OSError:  # no more for now, or its link is down
                pass
        while waiting and waiting[0][0] <= time.monotonic():
            _, to, frame = waiting.popleft()
            try:
                os.write(to, frame)
            except OSError:  # its link is down: the frame is lost
                pass


if __name__ == "__main__":
    devices = [tap(sys.argv[1], "eth0"), tap(sys.argv[2], sys.argv[3])]
    print("ready", flush=True)
    hand_on(devices, float(sys.argv[4]) / 1000)
