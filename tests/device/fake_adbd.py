"""The phone's end of adb: a small adbd whose phone is a folder, with qemu-user as its processor.

Android's protocol.txt (packages/modules/adb) says what goes over the wire: messages of a header of
six words (command, two arguments, length and checksum of the data, the command's complement) and
data. CNXN greets, AUTH asks for a key, OPEN asks for a service, OKAY and CLSE answer, WRTE carries
a stream's bytes, each of which is acknowledged by OKAY. SYNC.TXT has the service that copies files,
shell_protocol.h the packets of the shell's streams. The adb server on the other side is a real one.
"""

import os
import re
import socket
import stat
import struct
import subprocess
import threading
import time
from pathlib import Path

VERSION, MOST_DATA = 0x01000001, 256 * 1024
STDOUT, STDERR, EXIT = 1, 2, 3
TOKEN = 1  # first argument of AUTH

PROPERTIES = {
    "ro.product.manufacturer": "Fake",
    "ro.product.model": "Phone 1",
    "ro.soc.manufacturer": "Qemu",
    "ro.soc.model": "Q1",
    "ro.build.version.release": "14",
}
CPU_INFO = "".join(
    f"processor\t: {number}\nFeatures\t: fp asimd asimddp i8mm\nCPU part\t: {part}\n\n"
    for number, part in enumerate(("0xd05", "0xd05", "0xd41"))
)


def make_phone(folder: Path, architecture: str, libraries: Path | None = None) -> None:
    """Lays out a phone's files: where programs run, what it says of itself, the C library."""
    for name in ("data/local/tmp", "bin", "proc", "sys/class/thermal/thermal_zone0"):
        (folder / name).mkdir(parents=True)
    if libraries is not None:
        (folder / "lib").symlink_to(libraries)
    cases = "".join(f"  {key}) echo '{value}';;\n" for key, value in PROPERTIES.items())
    scripts = {
        "getprop": f'case "$1" in\n{cases}esac\n',
        "dumpsys": "echo '  temperature: 312'\n",
        "uname": f'case "$1" in -m) echo {architecture};; *) echo Linux 5.15;; esac\n',
        "df": f"echo Filesystem; echo /dev/block 100 50 $(cat {folder}/free_kb) 50% /data\n",
    }
    for name, text in scripts.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{text}")
        (folder / "bin" / name).chmod(0o755)
    (folder / "free_kb").write_text("9000000")
    (folder / "proc" / "cpuinfo").write_text(CPU_INFO)
    (folder / "proc" / "loadavg").write_text("0.10 0.10 0.10 1/100 1\n")
    zone = folder / "sys/class/thermal/thermal_zone0"
    (zone / "type").write_text("cpu-0\n")
    (zone / "temp").write_text("41000\n")
    for number, (clock, capacity) in enumerate(((1800000, 300), (1800000, 300), (2800000, 1024))):
        core = folder / f"sys/devices/system/cpu/cpu{number}"
        (core / "cpufreq").mkdir(parents=True)
        (core / "cpu_capacity").write_text(f"{capacity}\n")
        for name, value in (
            ("scaling_cur_freq", clock),
            ("cpuinfo_max_freq", clock),
            ("scaling_governor", "schedutil"),
        ):
            (core / "cpufreq" / name).write_text(f"{value}\n")


class FakePhone:
    """A phone that an adb server reaches over TCP.

    What may go wrong with it is set from outside:

        answers: whether it greets ("offline" where not).
        is_authorized: whether it takes the computer's key.
        most_bytes: of files, before its storage is full.
        unplug_after_bytes: of files, before the cable is out.
        unplug_at: the cable is out when a program has printed this.
        on_output: called with what programs print.
        is_executable: whether programs can be started where files go.
        emulator: the command that programs are started with; empty where they run as they are.
    """

    def __init__(self, folder: Path, emulator: list[str]) -> None:
        self.folder, self.emulator = folder, emulator
        self.answers = self.is_authorized = self.is_executable = True
        self.most_bytes = self.unplug_after_bytes = None
        self.unplug_at = None
        self.on_output = lambda data: None
        self.received = 0
        self._connections, self._programs = [], []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.serial = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def unplug(self) -> None:
        """Pulls the cable: what runs on the phone ends with its connection, as adbd does it."""
        self._listener.close()
        for program in self._programs:
            program.kill()
        self.drop()

    def drop(self) -> None:
        """Breaks the connection; the adb server will try again."""
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            connection.close()

    def local(self, path: str) -> Path:
        """Where a path of the phone is here."""
        return self.folder / path.lstrip("/")

    def left_behind(self) -> list[str]:
        """What lies where files go."""
        return sorted(path.name for path in self.local("/data/local/tmp").iterdir())

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=_Connection(self, connection).serve, daemon=True).start()

    def run(self, command: str) -> subprocess.Popen:
        """Starts a command in the phone's shell."""
        # What programs are told in their files stays as it is: for those a test names the folder.
        paths = r"(?<![\w.-])/(data/local/tmp|sys|proc/cpuinfo|proc/loadavg)\b"
        command = re.sub(paths, rf"{self.folder}/\1", command)
        if self.is_executable:
            start = " ".join(self.emulator)
            command = re.sub(r"(?<![\w./])\./(runner)\b", rf"{start} ./\1", command)
        else:
            command = re.sub(r"\bchmod 755\b", "chmod 644", command)
        program = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env={"PATH": f"{self.folder}/bin:/usr/bin:/bin", "HOME": str(self.folder)},
            start_new_session=True,
        )
        self._programs.append(_Group(program))
        return program


class _Group:
    """A program and all that it started."""

    def __init__(self, program: subprocess.Popen) -> None:
        self.program = program

    def kill(self) -> None:
        try:
            os.killpg(self.program.pid, 9)
        except ProcessLookupError:
            pass


class _Connection:
    """One adb server that talks to the phone."""

    def __init__(self, phone: FakePhone, connection: socket.socket) -> None:
        self.phone, self.connection = phone, connection
        self.streams, self.lock = {}, threading.Lock()

    def send(self, command: bytes, first: int = 0, second: int = 0, data: bytes = b"") -> None:
        [word] = struct.unpack("<I", command)
        checksum = sum(data) & 0xFFFFFFFF
        head = struct.pack("<6I", word, first, second, len(data), checksum, word ^ 0xFFFFFFFF)
        with self.lock:
            self.connection.sendall(head + data)

    def serve(self) -> None:
        try:
            while True:
                word, first, second, length, _, _ = struct.unpack("<6I", self._read(24))
                self._take(struct.pack("<I", word), first, second, self._read(length))
        except OSError:
            for stream in self.streams.values():
                stream.close()

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.connection.recv(count - len(data))
            if not part:
                raise OSError("closed")
            data += part
        return data

    def _take(self, command: bytes, first: int, second: int, data: bytes) -> None:
        if not self.phone.answers:
            return
        if command in (b"CNXN", b"AUTH"):
            if not self.phone.is_authorized:
                # It asks for a signature; a key that is sent instead waits for the user.
                if command == b"CNXN" or first == 2:
                    self.send(b"AUTH", TOKEN, 0, b"x" * 20)
                return
            about = b"device::ro.product.name=fake;ro.product.model=Phone_1;ro.product.device=fake"
            self.send(b"CNXN", VERSION, MOST_DATA, about + b";features=shell_v2,cmd")
        elif command == b"OPEN":
            number = len(self.streams) + 1
            stream = _Stream(self, number, first)
            self.streams[number] = stream
            self.send(b"OKAY", number, first)
            name = data.rstrip(b"\0").decode()
            serve = stream.serve_sync if name == "sync:" else stream.serve_shell
            threading.Thread(target=self._guarded, args=(serve, name), daemon=True).start()
        elif command == b"OKAY" and second in self.streams:
            self.streams[second].acknowledged.release()
        elif command == b"WRTE" and second in self.streams:
            self.send(b"OKAY", second, first)
            self.streams[second].feed(data)
        elif command == b"CLSE" and second in self.streams:
            self.streams[second].close()

    def _guarded(self, serve, name: str) -> None:
        try:
            serve(name)
        except (OSError, EOFError):
            pass  # the cable was pulled


class _Stream:
    """A service that was asked for."""

    def __init__(self, connection: _Connection, number: int, remote: int) -> None:
        self.connection, self.number, self.remote = connection, number, remote
        self.phone = connection.phone
        self.acknowledged = threading.Semaphore(0)
        self.coming, self.is_closed = b"", False
        self.changed = threading.Condition()
        self.program = None

    def feed(self, data: bytes) -> None:
        with self.changed:
            self.coming += data
            self.changed.notify()

    def close(self) -> None:
        with self.changed:
            self.is_closed = True
            self.changed.notify()
        self.acknowledged.release()
        if self.program is not None:
            _Group(self.program).kill()

    def read(self, count: int) -> bytes:
        with self.changed:
            while len(self.coming) < count:
                if self.is_closed:
                    raise EOFError
                self.changed.wait()
            data, self.coming = self.coming[:count], self.coming[count:]
        return data

    def write(self, data: bytes) -> None:
        self.connection.send(b"WRTE", self.number, self.remote, data)
        self.acknowledged.acquire()
        if self.is_closed:
            raise EOFError

    def finish(self) -> None:
        self.connection.send(b"CLSE", self.number, self.remote)

    def serve_shell(self, name: str) -> None:
        assert name.startswith("shell,v2"), name
        self.program = self.phone.run(name.partition(":")[2])
        lock = threading.Lock()

        def copy(source, kind: int) -> None:
            while data := source.read1(16384):
                self.phone.on_output(data)
                if self.phone.unplug_at and self.phone.unplug_at in data:
                    self.phone.unplug()
                    return
                with lock:
                    self.write(struct.pack("<BI", kind, len(data)) + data)

        pumps = [
            threading.Thread(target=self.connection._guarded, args=(lambda _, a=a: copy(*a), ""))
            for a in ((self.program.stdout, STDOUT), (self.program.stderr, STDERR))
        ]
        for pump in pumps:
            pump.start()
        for pump in pumps:
            pump.join()
        code = self.program.wait()
        self.write(struct.pack("<BIB", EXIT, 1, code & 0xFF))
        self.finish()

    def serve_sync(self, _: str) -> None:
        while True:
            kind, length = struct.unpack("<4sI", self.read(8))
            if kind == b"QUIT":
                return self.finish()
            argument = self.read(length).decode()
            if kind == b"STAT":
                self._stat(argument)
            elif kind == b"SEND":
                self._receive(argument.rpartition(",")[0])
            elif kind == b"RECV":
                self._send(argument)

    def _stat(self, path: str) -> None:
        try:
            found = self.phone.local(path).stat()
            mode, size = found.st_mode, found.st_size
        except OSError:
            mode = size = 0
        self.write(struct.pack("<4s3I", b"STAT", mode, size, int(time.time())))

    def _receive(self, path: str) -> None:
        content, problem = bytearray(), b""
        while True:
            kind, length = struct.unpack("<4sI", self.read(8))
            if kind == b"DONE":
                break
            content += self.read(length)
            self.phone.received += length
            after = self.phone.unplug_after_bytes
            if after is not None and self.phone.received > after:
                self.phone.unplug()
                raise EOFError
            if self.phone.most_bytes is not None and self.phone.received > self.phone.most_bytes:
                problem = b"couldn't write: No space left on device"
        if problem:
            self.write(struct.pack("<4sI", b"FAIL", len(problem)) + problem)
            return
        place = self.phone.local(path)
        place.write_bytes(content)
        place.chmod(stat.S_IRUSR | stat.S_IWUSR)
        self.write(struct.pack("<4sI", b"OKAY", 0))

    def _send(self, path: str) -> None:
        content = self.phone.local(path).read_bytes()
        for start in range(0, len(content), 65536):
            part = content[start : start + 65536]
            self.write(struct.pack("<4sI", b"DATA", len(part)) + part)
        self.write(struct.pack("<4sI", b"DONE", 0))
