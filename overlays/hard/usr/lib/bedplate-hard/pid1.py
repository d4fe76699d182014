"""What the tests of this folder share: PID 1's control protocol, what PID 1 holds, and the console."""

import os
import re
import socket
import sys
import time

CONTROL = "/run/bedplate/control.sock"
NOTIFY = "/run/systemd/notify"
GROUPS = "/sys/fs/cgroup"
JSON = {"__builtins__": {}, "null": None, "true": True, "false": False}


def say(text):
    """One line on the console, which the test reads to its mark."""
    name = os.path.basename(sys.argv[0])
    line = f"hard-{name}: {text} (said)\n".encode()
    with open("/dev/console", "wb", buffering=0) as console:
        console.write(line)


def fail(text):
    """The end of a test that has not passed."""
    say(f"failed: {text}")
    sys.exit(1)


def end_badly(kind, value, trace):
    """A fault of the test itself is told as well."""
    while trace.tb_next:
        trace = trace.tb_next
    say(f"failed: {trace.tb_frame.f_code.co_name}, line {trace.tb_lineno}: {kind.__name__}: {value}")


sys.excepthook = end_badly


def check(holds, text):
    if not holds:
        fail(text)


def text_of(value):
    """JSON of words, numbers, lists and maps of such; Debian's smallest Python has no json."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{text_of(k)}:{text_of(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(text_of, value)) + "]"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Control:
    """A client of the control socket."""

    def __init__(self, timeout=60):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(timeout)
        self.socket.connect(CONTROL)
        self.number = 0

    def ask(self, request):
        """The reply to a request, such as {"show": {"unit": NAME}}."""
        self.number += 1
        envelope = {"version": 1, "id": self.number, "request": request}
        self.socket.send(text_of(envelope).encode())
        while True:
            packet = self.socket.recv(1 << 17)
            if not packet:
                raise ConnectionError("PID 1 has closed the connection")
            answer = eval(packet.decode(), JSON)
            if answer["id"] == self.number:
                return answer["reply"]

    def unit(self, name):
        reply = self.ask({"show": {"unit": name}})
        return reply.get("unit") if isinstance(reply, dict) else None

    def do(self, what, unit):
        reply = self.ask({what: {"unit": unit}})
        check(reply == "ok", f"{what} {unit}: {reply}")

    def list(self):
        offset, all = 0, []
        while offset is not None:
            page = self.ask({"list": {"offset": offset}})["units"]
            all += page["units"]
            offset = page["next"]
        return all

    def await_unit(self, name, holds, seconds=120):
        """Waits until a unit is so; its state."""
        until = time.monotonic() + seconds
        state = None
        while time.monotonic() < until:
            state = self.unit(name)
            if state and holds(state):
                return state
            time.sleep(0.01)
        fail(f"{name} does not come so far: {state}")

    def await_unit_gone(self, name, seconds=120):
        """Waits until a unit is down, which may have been forgotten by then."""
        until = time.monotonic() + seconds
        while True:
            state = self.unit(name)
            if state is None or state["active"] in ("inactive", "failed"):
                self.ask({"reset_failed": {"unit": name}})
                return state
            check(time.monotonic() < until, f"{name} does not end: {state}")
            time.sleep(0.01)

    def stop_slice(self, template):
        """Stops the slice of a template, which stays when its last service has gone, as in systemd."""
        self.do("stop", "system-" + template.replace("-", "\\x2d") + ".slice")


def read(path):
    with open(path) as file:
        return file.read()


def zombies():
    """Children of PID 1 that have ended and are not collected."""
    found = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        except OSError:
            continue
        found += words[0] == "Z" and words[1] == "1"
    return found


def groups():
    """All control groups."""
    return {folder for folder, _, _ in os.walk(GROUPS)}


def watches():
    """inotify watches of PID 1."""
    found = 0
    for fd in os.listdir("/proc/1/fdinfo"):
        try:
            found += read(f"/proc/1/fdinfo/{fd}").count("inotify wd:")
        except OSError:
            pass
    return found


def fds():
    return len(os.listdir("/proc/1/fd"))


def memory_kib():
    return int(re.search(r"VmRSS:\s+(\d+)", read("/proc/1/status"))[1])


class Holdings:
    """What PID 1 holds now."""

    def __init__(self):
        self.fds, self.watches = fds(), watches()
        self.groups, self.zombies = groups(), zombies()
        self.memory_kib = memory_kib()

    def differs(self, other):
        """What is not the same, in words; nothing if all is."""
        found = []
        for name in ("fds", "watches", "zombies"):
            if getattr(self, name) != getattr(other, name):
                found.append(f"{name} {getattr(self, name)} then {getattr(other, name)}")
        if self.groups != other.groups:
            found.append(f"groups {sorted(self.groups ^ other.groups)}")
        return ", ".join(found)


def settled(before, seconds=60):
    """Waits until PID 1 holds what it held; the last look at it. Whoever asks has no connection open."""
    until = time.monotonic() + seconds
    while True:
        after = Holdings()
        if not before.differs(after) or time.monotonic() > until:
            check(not before.differs(after), before.differs(after))
            return after
        time.sleep(0.2)


def quiet():
    """Waits until the node is up and nothing comes or goes any more."""
    control = Control()
    control.await_unit("multi-user.target", lambda unit: unit["active"] == "active", 300)
    # Units of the boot that run once may still be on their way out.
    last, same = None, 0
    while same < 10:
        units = control.list()
        now = [(unit["name"], unit["sub"]) for unit in units]
        settled = all(unit["active"] in ("active", "inactive", "failed") for unit in units)
        same = same + 1 if settled and now == last else 0
        last = now
        time.sleep(0.3)
    return control


class Machine:
    """When the machine itself stood still, as its host let it wait: on each processor a process sees it that comes before
    all others and only sleeps. What such a one must wait for, PID 1 cannot help."""

    TICK = 0.01
    # Shorter is no stand.
    LEAST = 0.01

    def __init__(self):
        self.stands = []
        self.news, news = os.pipe()
        os.set_blocking(self.news, False)
        for processor in sorted(os.sched_getaffinity(0)):
            if os.fork() == 0:
                os.sched_setaffinity(0, [processor])
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))
                self.watch(news)
        os.close(news)

    def watch(self, news):
        last = time.monotonic()
        while True:
            time.sleep(self.TICK)
            now = time.monotonic()
            if now - last > self.TICK + self.LEAST:
                try:
                    os.write(news, f"{last + self.TICK} {now}\n".encode())
                except OSError:
                    os._exit(0)
            last = now

    def stood(self, begin, end):
        """For how many seconds of a time a processor of it stood."""
        try:
            self.stands += [[float(word) for word in line.split()] for line in os.read(self.news, 1 << 16).splitlines()]
        except BlockingIOError:
            pass
        # Nobody asks for what is long over.
        self.stands = [stand for stand in self.stands if stand[1] > begin]
        stood, until = 0, begin
        for first, last in sorted(self.stands):
            first, last = max(first, until), min(last, end)
            stood, until = stood + max(0, last - first), max(until, last)
        return stood


def scheduled(pid):
    """For how many seconds a process has run, and was ready to run and did not."""
    return [int(word) / 1e9 for word in read(f"/proc/{pid}/schedstat").split()[:2]]


def page_reads(pid):
    """How often a process had to wait for a page that was not in memory (major faults)."""
    return int(read(f"/proc/{pid}/stat").rpartition(")")[2].split()[9])


def spread(seconds):
    """Median and most of some times, in words."""
    ordered = sorted(seconds)
    median = ordered[len(ordered) // 2]
    return f"median {median * 1000:.1f} ms, most {ordered[-1] * 1000:.1f} ms"
