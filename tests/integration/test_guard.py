#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guard, as libvirt meets it.

Runs the built guard (TH_GUARD, by default the one in the build folder) in a mount and process
namespace of its own, where /usr/bin/timehandoff is a fake checker, /run and /dev hold this test's
log sockets, and /etc/timehandoff is nobody's. Needs root and a C compiler; touches nothing outside.
Every call of the guard is waited for as libvirt does it, until its pipes end, and none may write to
stdout.
"""

import concurrent.futures
import contextlib
import ctypes
import itertools
import os
import platform
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
BUILT_GUARD = os.path.abspath(
    os.environ.get("TH_GUARD", os.path.join(HERE, "../../build/hooks/timehandoff-guard")))
CHECKER = "/usr/bin/timehandoff"
FAIL_CLOSED = "/etc/timehandoff/fail-closed"
JOURNAL = "/run/systemd/journal/socket"
SYSLOG = "/dev/log"
ROOM = "/run/guard-test"
GUARD = ROOM + "/50-timehandoff"
OUTER = "TH_TEST_OUTER_MOUNTS"

MARK = b"timehandoff: blocked "
LINE = MARK + b"migration of web1: source hv1 is 5.012 s ahead of this host"
DOMAIN_XML = b"<domain type='kvm'><name>web1</name></domain>\n"
DEADLINE_S = 3.0
MARGIN_S = 2.0
AT_ONCE_S = 1.5
NOBODY = 65534

# A checker that does what the words in TH_FAKE tell it, one after the other, and leaves what it
# saw in the folder TH_FAKE_DIR. "pids" there is both the proof that it was started and the list of
# processes that have to be gone afterwards.
FAKE_SOURCE = r"""
#define _GNU_SOURCE 1
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int in_folder(const char *name, int flags) {
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", getenv("TH_FAKE_DIR"), name);
    return open(path, flags | O_CLOEXEC, 0666);
}

static void note_pid(void) {
    int fd = in_folder("pids", O_WRONLY | O_CREAT | O_APPEND);
    dprintf(fd, "%d\n", (int)getpid());
    close(fd);
}

static void copy(int from, int to) {
    char bytes[65536];
    ssize_t n;
    while ((n = read(from, bytes, sizeof(bytes))) > 0)
        for (ssize_t done = 0, w; done < n; done += w)
            if ((w = write(to, bytes + done, (size_t)(n - done))) < 0)
                abort();
}

static void leave_child(int own_session) {
    int ready[2];
    char c;
    if (pipe(ready) < 0)
        abort();
    if (fork() == 0) {
        if (own_session)
            setsid();
        note_pid();
        close(ready[0]);
        close(ready[1]);
        for (;;)
            pause();
    }
    close(ready[1]);
    if (read(ready[0], &c, 1) < 0)
        abort();
    close(ready[0]);
}

static void keep_stdin(void) {
    int fd = in_folder("stdin", O_WRONLY | O_CREAT);
    copy(0, fd);
    close(fd);
}

static void report(int argc, char **argv) {
    int fd = in_folder("argv", O_WRONLY | O_CREAT);
    for (int i = 0; i < argc; i++)
        if (write(fd, argv[i], strlen(argv[i]) + 1) < 0)
            abort();
    close(fd);
    fd = in_folder("group", O_WRONLY | O_CREAT);
    dprintf(fd, "%d %d\n", (int)getpid(), (int)getpgrp());
    close(fd);
    fd = in_folder("fds", O_WRONLY | O_CREAT);
    char path[64], target[256];
    for (int i = 0; i < 1024; i++) {
        snprintf(path, sizeof(path), "/proc/self/fd/%d", i);
        ssize_t n = i == fd ? -1 : readlink(path, target, sizeof(target));
        if (n > 0)
            dprintf(fd, "%d %.*s\n", i, (int)n, target);
    }
    close(fd);
    int from = open("/proc/self/status", O_RDONLY);
    fd = in_folder("status", O_WRONLY | O_CREAT);
    copy(from, fd);
    close(from);
    close(fd);
}

int main(int argc, char **argv) {
    note_pid();
    for (char *word = strtok(getenv("TH_FAKE"), " "); word; word = strtok(NULL, " ")) {
        char *value = strchr(word, ':');
        if (value)
            *value++ = '\0';
        if (!strcmp(word, "exit"))
            _exit(atoi(value));
        else if (!strcmp(word, "signal"))
            raise(atoi(value));
        else if (!strcmp(word, "sleep-ms"))
            usleep((unsigned)atoi(value) * 1000);
        else if (!strcmp(word, "hang"))
            for (;;)
                pause();
        else if (!strcmp(word, "flood"))
            for (;;)
                copy(open("/dev/zero", O_RDONLY), 2);
        else if (!strcmp(word, "stderr"))
            copy(in_folder(value, O_RDONLY), 2);
        else if (!strcmp(word, "stdout"))
            copy(in_folder(value, O_RDONLY), 1);
        else if (!strcmp(word, "keep-stdin"))
            keep_stdin();
        else if (!strcmp(word, "close-stderr"))
            close(2);
        else if (!strcmp(word, "ignore-signals"))
            for (int sig = 1; sig < NSIG; sig++)
                signal(sig, SIG_IGN);
        else if (!strcmp(word, "leave-group"))
            setpgid(0, getpgid(getppid()));
        else if (!strcmp(word, "child"))
            leave_child(0);
        else if (!strcmp(word, "escaped-child"))
            leave_child(1);
        else if (!strcmp(word, "report"))
            report(argc, argv);
        else
            abort();
    }
    return 0;
}
"""


def enter_namespace():
    """Starts this file anew in its own namespaces, unless that has been done."""
    here = os.readlink("/proc/self/ns/mnt")
    if os.environ.get(OUTER, here) != here:
        return
    if os.geteuid() != 0:
        print("test_guard: needs root", file=sys.stderr)
        sys.exit(77)
    env = dict(os.environ, **{OUTER: here})
    # The shell becomes process 1, and reaps what the guard leaves behind.
    os.execvpe("unshare", ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child",
                           "--mount-proc", "sh", "-c", '"$@"; exit $?', "sh",
                           "/usr/bin/python3", os.path.abspath(__file__)] + sys.argv[1:], env)


def mount(*args):
    subprocess.run(["mount", *args], check=True)


def mount_overlay(folder, name):
    for layer in ("upper", "work"):
        os.makedirs(f"{ROOM}/{name}/{layer}")
    mount("-t", "overlay", "overlay", "-o",
          f"lowerdir={folder},upperdir={ROOM}/{name}/upper,workdir={ROOM}/{name}/work", folder)


def mount_dev():
    """A /dev of three devices, so that a log socket can be made in it that nobody else sees."""
    new = ROOM + "/dev"
    os.mkdir(new)
    for device in ("null", "zero", "urandom"):
        open(f"{new}/{device}", "w").close()
        mount("--bind", f"/dev/{device}", f"{new}/{device}")
    mount("--rbind", new, "/dev")


def compile_c(source, *args):
    path = tempfile.mktemp(suffix=".c", dir=ROOM)
    with open(path, "w") as file:
        file.write(source)
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run([*compiler, "-O1", path, *args], check=True, env=dict(os.environ, TMPDIR=ROOM))


def setUpModule():
    with open(BUILT_GUARD, "rb") as file:
        guard = file.read()
    mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run")
    os.makedirs(ROOM)
    os.makedirs(os.path.dirname(JOURNAL))
    with open(ROOM + "/timehandoff-guard", "wb") as file:
        file.write(guard)
    os.chmod(ROOM + "/timehandoff-guard", 0o755)
    os.symlink(ROOM + "/timehandoff-guard", GUARD)
    mount_overlay("/usr/bin", "usr-bin")
    mount_overlay("/etc", "etc")
    mount_dev()
    # Of this network namespace: else a log socket that nobody reads yet takes eleven messages.
    with open("/proc/sys/net/unix/max_dgram_qlen", "w") as file:
        file.write("100\n")
    shutil.rmtree("/etc/timehandoff", ignore_errors=True)
    os.mkdir("/etc/timehandoff")
    compile_c(FAKE_SOURCE, "-o", ROOM + "/fake")
    install_fake()


def install_fake():
    with contextlib.suppress(FileNotFoundError):
        os.unlink(CHECKER)
    shutil.copy(ROOM + "/fake", CHECKER)


class Log:
    """A log daemon's socket: what arrived there, as a list of dictionaries or of lines."""

    def __init__(self, path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.socket.setblocking(False)
        os.chmod(path, 0o666)

    def datagrams(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                yield self.socket.recv(65536)

    def entries(self):
        for datagram in self.datagrams():
            fields = [line.split(b"=", 1) for line in datagram.removesuffix(b"\n").split(b"\n")]
            entry = {key.decode(): value for key, value in fields}
            assert len(entry) == len(fields), f"a field comes twice: {datagram!r}"
            yield entry

    def fill(self):
        """Makes the next sender wait, if it is one that waits."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    sender.sendto(b"MESSAGE=noise\n", self.path)

    def close(self):
        self.socket.close()
        os.unlink(self.path)


class Run:
    """One call of the guard and what came of it."""

    def __init__(self, fake="exit:0", *, name="web1", op="migrate", rest=("begin", "-"), argv=None,
                 stdin=DOMAIN_XML, files=(), closed=(), stderr=subprocess.PIPE, **popen):
        self.folder = tempfile.mkdtemp(dir=ROOM)
        os.chmod(self.folder, 0o777)
        for file, content in dict(files).items():
            with open(f"{self.folder}/{file}", "wb") as stream:
                stream.write(content)
        argv = [name, op, *rest] if argv is None else argv
        env = {"LC_ALL": "C", "PATH": "/usr/bin", "TH_FAKE": fake, "TH_FAKE_DIR": self.folder}

        def close():
            for fd in closed:
                os.close(fd)

        if closed:
            popen["preexec_fn"] = close
        start = time.monotonic()
        with subprocess.Popen([GUARD, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=stderr, env=env, cwd="/", start_new_session=True,
                              **popen) as process:
            self.stdout, self.stderr = process.communicate(stdin, timeout=20)
        self.seconds = time.monotonic() - start
        self.status = process.returncode
        assert self.stdout == b"", f"the guard wrote to stdout: {self.stdout[:200]!r}"

    def read(self, name):
        with open(f"{self.folder}/{name}", "rb") as file:
            return file.read()

    def pids(self):
        try:
            return [int(pid) for pid in self.read("pids").split()]
        except FileNotFoundError:
            return []

    def survivors(self, within_s=2.0):
        """SIGKILL takes a moment to work; what is left after that is left for good."""
        end = time.monotonic() + within_s
        while (alive := [pid for pid in self.pids() if is_alive(pid)]) and time.monotonic() < end:
            time.sleep(0.01)
        return alive


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def deny_syscalls(numbers, error):
    """Makes system calls fail from here on, as an old kernel or a full process table would."""
    statements = [struct.pack("HBBI", 0x20, 0, 0, 0)]  # load the number of the call
    for number in numbers:
        statements.append(struct.pack("HBBI", 0x15, 0, 1, number))  # skip one if it is another
        statements.append(struct.pack("HBBI", 0x06, 0, 0, 0x00050000 | error))
    statements.append(struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000))
    code = ctypes.create_string_buffer(b"".join(statements))
    program = ctypes.create_string_buffer(struct.pack("HP", len(statements),
                                                      ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, program, 0, 0) == 0, os.strerror(ctypes.get_errno())


class GuardTest(unittest.TestCase):
    def setUp(self):
        self.journal = Log(JOURNAL)
        self.addCleanup(self.journal.close)
        self.addCleanup(install_fake)
        self.set_fail_closed(False)

    @staticmethod
    def set_fail_closed(wanted):
        if wanted:
            open(FAIL_CLOSED, "w").close()
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(FAIL_CLOSED)

    def assert_quiet(self, run):
        """Allowed without a word: what libvirt gets nearly always."""
        self.assertEqual((run.status, run.stderr or b""), (0, b""))
        self.assertEqual(list(self.journal.entries()), [])

    def assert_blocked(self, run, line=LINE):
        """Blocked by the checker: its line and nothing else."""
        self.assertEqual((run.status, run.stderr), (1, line + b"\n"))
        self.assertEqual(list(self.journal.entries()), [])

    def assert_failed(self, run, why, name="web1", closed=False, entries=None):
        """The check failed: one warning that says so, and libvirt's answer depends on the file."""
        entries = list(self.journal.entries()) if entries is None else entries
        self.assertEqual(len(entries), 1, entries)
        fields = dict(entries[0])
        message = fields.pop("MESSAGE").decode()
        self.assertRegex(fields.pop("MESSAGE_ID"), rb"\A[0-9a-f]{32}\Z")
        self.assertEqual(fields, {"PRIORITY": b"4", "SYSLOG_IDENTIFIER": b"timehandoff-guard",
                                  "TIMEHANDOFF_DOMAIN_NAME": name.encode()})
        verdict = "blocked" if closed else "allowed"
        begin = f"timehandoff: {verdict} migration of {name}: the clock check itself failed ("
        self.assertTrue(message.startswith(begin), message)
        if closed:
            self.assertTrue(message.endswith(
                ") and /etc/timehandoff/fail-closed exists; run 'timehandoff dry-run' here to see "
                "why, or remove that file"), message)
            self.assertEqual((run.status, run.stderr), (1, message.encode() + b"\n"))
        else:
            self.assertTrue(message.endswith("); run 'timehandoff dry-run' here to see why"),
                            message)
            self.assertEqual((run.status, run.stderr), (0, b""))
        self.assertRegex(message, why)


class OtherOps(GuardTest):
    """Whatever is not root's `migrate` is over before it began."""

    CALLS = [(op, sub, "-") for op, sub in (
        ("restore", "begin"), ("prepare", "begin"), ("start", "begin"), ("started", "begin"),
        ("stopped", "end"), ("release", "end"), ("reconnect", "begin"), ("attach", "begin"))]
    CALLS += [("release", "end", reason) for reason in (
        "migrated", "saved", "shutdown", "destroyed", "failed", "from snapshot", "daemon")]
    CALLS += [(op, "begin", "-") for op in ("", "-", "migrat", "migrated", "MIGRATE", "migrate ")]

    def assert_not_started(self, run):
        self.assert_quiet(run)
        self.assertLess(run.seconds, AT_ONCE_S)
        self.assertEqual(run.pids(), [])

    def test_the_marker_is_written_when_the_checker_is_started(self):
        self.assertEqual(len(Run("exit:0").pids()), 1)
        folder = tempfile.mkdtemp(dir=ROOM)
        os.chmod(folder, 0o777)
        subprocess.run([CHECKER], user=NOBODY, env={"TH_FAKE": "exit:0", "TH_FAKE_DIR": folder},
                       check=True)
        self.assertTrue(os.path.exists(folder + "/pids"))

    def test_every_op_as_root_and_not(self):
        for closed, user, (op, *rest) in itertools.product((False, True), (0, NOBODY), self.CALLS):
            with self.subTest(op=op, rest=rest, user=user, closed=closed):
                self.set_fail_closed(closed)
                self.assert_not_started(Run("exit:1", op=op, rest=rest, user=user, group=user))

    def test_migrate_by_somebody_else(self):
        for closed in (False, True):
            for ids in ((NOBODY, NOBODY, NOBODY), (NOBODY, 0, 0), (0, NOBODY, 0)):
                with self.subTest(ids=ids, closed=closed):
                    self.set_fail_closed(closed)

                    def become(ids=ids):
                        os.setresuid(*ids)

                    self.assert_not_started(Run("exit:1", preexec_fn=become))

    def test_too_few_arguments(self):
        self.set_fail_closed(True)
        for argv in ([], ["web1"], ["migrate"], [""]):
            with self.subTest(argv=argv):
                self.assert_not_started(Run("exit:1", argv=argv))

    def test_no_argument_at_all(self):
        """Linux before 5.18 lets a program be run without even its own name."""
        libc = ctypes.CDLL(None)
        pid = os.fork()
        if pid == 0:
            libc.execv(GUARD.encode(), (ctypes.c_char_p * 1)(None))
            os._exit(99)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)

    def test_other_ops_without_a_checker_or_a_log(self):
        os.unlink(CHECKER)
        self.set_fail_closed(True)
        for op in ("prepare", "start", "started", "reconnect"):
            with self.subTest(op=op):
                self.assert_not_started(Run("", op=op, closed=(0, 1, 2)))


class Verdicts(GuardTest):
    """An answer of the checker, and what only looks like one."""

    def test_allowed(self):
        for closed in (False, True):
            self.set_fail_closed(closed)
            self.assert_quiet(Run("exit:0"))

    def test_the_line_with_status_0_is_allowed(self):
        self.assert_quiet(Run("stderr:said exit:0", files={"said": LINE + b"\n"}))

    def test_blocked(self):
        for closed in (False, True):
            self.set_fail_closed(closed)
            self.assert_blocked(Run("stderr:said exit:86", files={"said": LINE + b"\n"}))

    def test_blocked_after_and_before_other_lines(self):
        said = b"noise\n\n" + LINE + b"\nmore\n" + MARK + b"second\nunfinished"
        self.assert_blocked(Run("stderr:said exit:86", files={"said": said}))

    def test_blocked_with_its_output_in_pieces(self):
        files = {"a": b"noise\n" + LINE[:10], "b": LINE[10:30], "c": LINE[30:] + b"\n"}
        self.assert_blocked(Run("stderr:a sleep-ms:50 stderr:b sleep-ms:50 stderr:c exit:86",
                                files=files))

    def test_blocked_while_stderr_is_closed_already(self):
        self.assert_blocked(Run("stderr:said close-stderr sleep-ms:100 exit:86",
                                files={"said": LINE + b"\n"}))

    def test_the_line_is_made_safe_for_a_terminal(self):
        said = MARK + bytes(range(10)) + bytes(range(11, 33)) + b"\x7f \xc3\xa9 \xff\n"
        expected = MARK + b"?" * 31 + b" ? \xc3\xa9 \xff"
        self.assert_blocked(Run("stderr:said exit:86", files={"said": said}), expected)

    def test_the_longest_line(self):
        line = MARK + b"x" * (1024 - len(MARK))
        self.assert_blocked(Run("stderr:said exit:86", files={"said": line + b"\n"}), line)

    def test_the_line_at_the_end_of_what_is_kept(self):
        noise = b"n" * (4096 - len(LINE) - 2) + b"\n"
        said = noise + LINE + b"\n"
        self.assertEqual(len(said), 4096)
        self.assert_blocked(Run("stderr:said exit:86", files={"said": said + b"dropped\n" * 9000}))

    def test_status_86_without_a_proper_line(self):
        """The guard keeps 4 KiB: a line that begins, or ends, beyond them was not said."""
        cases = {
            "nothing": b"",
            "no newline": LINE,
            "not at the beginning": b" " + LINE + b"\n",
            "quoted": b"error: " + LINE + b"\n",
            "other case": LINE.upper() + b"\n",
            "mark cut short": MARK.rstrip() + b"\n",
            "longer than 1024": MARK + b"x" * (1025 - len(MARK)) + b"\n",
            "after a NUL": b"\0" + LINE + b"\n",
            "after a carriage return": b"noise\r" + LINE + b"\n",
            "past 4 KiB": b"n" * 4096 + b"\n" + LINE + b"\n",
            "far past 4 KiB": b"noise\n" * 50000 + LINE + b"\n",
            "across 4 KiB": b"n" * (4096 - len(LINE) - 1) + b"\n" + LINE + b"\n",
            "garbage": os.urandom(1 << 20).replace(MARK, b""),
        }
        for (label, said), closed in itertools.product(cases.items(), (False, True)):
            with self.subTest(label, closed=closed):
                self.set_fail_closed(closed)
                run = Run("stderr:said exit:86", files={"said": said})
                self.assert_failed(run, "status 86", closed=closed)
                self.assertLess(run.seconds, AT_ONCE_S)

    def test_garbage_on_both_and_status_0(self):
        run = Run("stderr:noise stdout:noise exit:0", files={"noise": os.urandom(1 << 20)})
        self.assert_quiet(run)
        self.assertLess(run.seconds, AT_ONCE_S)

    def test_garbage_on_stdout_does_not_hide_a_block(self):
        files = {"noise": os.urandom(1 << 20), "said": LINE + b"\n"}
        self.assert_blocked(Run("stdout:said stdout:noise stderr:said stderr:noise exit:86",
                                files=files))

    def test_nobody_reads_stderr(self):
        """A verdict is a verdict; it must not become a death by SIGPIPE."""
        reading, writing = os.pipe()
        os.close(reading)
        with open(writing, "wb") as stderr:
            run = Run("stderr:said exit:86", files={"said": LINE + b"\n"}, stderr=stderr)
        self.assertEqual(run.status, 1)
        self.assertEqual([entry["MESSAGE"] for entry in self.journal.entries()], [LINE])


class Failures(GuardTest):
    """All that can go wrong with the checker is logged and allowed, or blocked if so configured."""

    def check(self, why, fake="exit:0", **run):
        for closed in (False, True):
            with self.subTest(fake=fake, closed=closed):
                self.set_fail_closed(closed)
                result = Run(fake, **run)
                self.assert_failed(result, why, closed=closed)
                self.assertLess(result.seconds, AT_ONCE_S)
                self.assertEqual(result.survivors(), [])

    def install(self, content, mode=0o755):
        os.unlink(CHECKER)
        with open(CHECKER, "wb") as file:
            file.write(content)
        os.chmod(CHECKER, mode)

    def test_missing(self):
        os.unlink(CHECKER)
        self.check("cannot execute /usr/bin/timehandoff: No such file")

    def test_dangling_link(self):
        os.unlink(CHECKER)
        os.symlink("/nonexistent", CHECKER)
        self.check("cannot execute /usr/bin/timehandoff: No such file")

    def test_not_executable(self):
        os.chmod(CHECKER, 0o644)
        self.check("cannot execute /usr/bin/timehandoff: Permission denied")

    def test_broken_interpreter(self):
        self.install(b"#!/nonexistent/interpreter\n")
        self.check("cannot execute /usr/bin/timehandoff: No such file")

    def test_not_a_program(self):
        for content in (b"", b"exit 0\n", b"\x7fELF" + bytes(60)):
            self.install(content)
            self.check("cannot execute /usr/bin/timehandoff: Exec format error")

    def test_a_library_is_missing(self):
        library = ROOM + "/libth-absent.so"
        compile_c("int th_absent(void) { return 0; }", "-shared", "-fPIC", "-o", library)
        compile_c("int th_absent(void); int main(void) { return th_absent(); }", library,
                  "-o", ROOM + "/linked")
        os.unlink(library)
        os.unlink(CHECKER)
        shutil.copy(ROOM + "/linked", CHECKER)
        self.check("status 127: .*libth-absent.so")

    def test_crash(self):
        for sig in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGKILL, signal.SIGTERM,
                    signal.SIGPIPE, signal.SIGALRM):
            self.check(f"signal {int(sig)}, ", f"signal:{int(sig)}")

    def test_crash_after_the_line(self):
        self.check("signal 11, ", f"stderr:said signal:{int(signal.SIGSEGV)}",
                   files={"said": LINE + b"\n"})

    def test_crash_while_a_child_holds_the_pipe(self):
        self.check("signal 6, ", f"child signal:{int(signal.SIGABRT)}")

    def test_other_statuses(self):
        for status in (1, 2, 3, 85, 87, 126, 127, 128, 214, 255):
            self.check(rf"status {status}\)", f"exit:{status}")

    def test_other_statuses_with_the_line(self):
        """Its words are not repeated, since they may quote the XML."""
        for status in (1, 85, 87, 255):
            self.check(rf"status {status}\)", f"stderr:said exit:{status}",
                       files={"said": LINE + b"\n"})

    def test_status_127_with_its_first_line(self):
        self.check(r"status 127: no \?library\)", "stderr:said exit:127",
                   files={"said": b"no \x1blibrary\nsecret\n"})
        self.check(r"status 127: x+\.\.\.\)", "stderr:said exit:127",
                   files={"said": b"x" * 3000 + b"\n"})

    def test_no_descriptors_left(self):
        """Here not even a log socket can be opened."""
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4))
        for closed in (False, True):
            self.set_fail_closed(closed)
            run = Run("exit:0", preexec_fn=limit)
            self.assertEqual((run.status, run.pids()), (int(closed), []))
            self.assertEqual(b"cannot be started: Too many open files" in run.stderr, closed)

    def test_no_process_left(self):
        numbers = {"x86_64": (56, 57, 58, 435), "aarch64": (220, 435)}[platform.machine()]

        def deny():
            deny_syscalls(numbers, 11)
        self.check("cannot be started: Resource temporarily unavailable", preexec_fn=deny)

    def test_no_null_device(self):
        os.rename(ROOM + "/dev", ROOM + "/dev-away")
        self.addCleanup(os.rename, ROOM + "/dev-away", ROOM + "/dev")
        mount("-t", "tmpfs", "tmpfs", "/dev")
        self.addCleanup(subprocess.run, ["umount", "/dev"], check=True)
        self.check("cannot be started: No such file or directory")


class Surroundings(GuardTest):
    """What the guard inherits, and what it hands on."""

    def checker_fds(self, run):
        return dict(line.split(b" ", 1) for line in run.read("fds").splitlines())

    def assert_handed_on_clean(self, run):
        fds = self.checker_fds(run)
        self.assertEqual(sorted(fds), [b"0", b"1", b"2"])
        self.assertEqual(fds[b"1"], b"/dev/null")
        self.assertTrue(fds[b"2"].startswith(b"pipe:"))
        pid, group = run.read("group").split()
        self.assertEqual(pid, group)
        status = dict(line.split(b":", 1) for line in run.read("status").splitlines())
        for field in (b"SigBlk", b"SigIgn"):
            # glibc keeps 32 and 33 for itself and refuses to touch them.
            self.assertEqual(int(status[field], 16) & ~(3 << 31), 0, field)

    def test_what_the_checker_gets(self):
        run = Run("keep-stdin report exit:0")
        self.assert_quiet(run)
        self.assertEqual(run.read("argv"), b"timehandoff\0hook\0web1\0migrate\0begin\0-\0")
        self.assertEqual(run.read("stdin"), DOMAIN_XML)
        self.assert_handed_on_clean(run)

    def test_fewer_and_more_arguments(self):
        for argv, expected in ((["a", "migrate"], ["a", "migrate"]),
                               (["a", "migrate", "begin"], ["a", "migrate", "begin"]),
                               (["a", "migrate", "", "c", "d", "e"], ["a", "migrate", "", "c"])):
            run = Run("report exit:0", argv=argv)
            self.assert_quiet(run)
            self.assertEqual(run.read("argv").decode().split("\0")[:-1],
                             ["timehandoff", "hook", *expected])

    def test_names(self):
        names = ["-h", "--help", "--", "-", "", "two words", "it's \"quoted\" $(reboot) `x` %s%n",
                 "línea Übung 客户机", "x" * 4096]
        for name in names:
            with self.subTest(name=name[:40]):
                files = {"said": LINE + b"\n"}
                run = Run("report stderr:said exit:86", name=name, files=files)
                self.assert_blocked(run)
                self.assertEqual(run.read("argv").split(b"\0")[2], name.encode())
                for closed in (False, True):
                    self.set_fail_closed(closed)
                    shown = name if len(name) < 256 else name[:252] + "..."
                    self.assert_failed(Run("exit:1", name=name), r"status 1\)", shown, closed)

    def test_names_that_would_forge_a_field_or_a_line(self):
        for name, shown in (("a\nPRIORITY=0", "a?PRIORITY=0"), ("a\n" + LINE.decode(),
                            "a?" + LINE.decode()), ("\x1b[2J\x7f\r", "?[2J??"),
                            ("é" * 2048, "é" * 126 + "..."), ("x" + "é" * 2048, "x" + "é" * 125 + "...")):
            with self.subTest(name=name[:40]):
                self.set_fail_closed(True)
                self.assert_failed(Run("exit:1", name=name), r"status 1\)", shown, True)

    def test_stdin_that_nobody_reads(self):
        run = Run("exit:0", stdin=b"<domain/>" * (10 << 20 >> 3))
        self.assert_quiet(run)
        self.assertLess(run.seconds, AT_ONCE_S)

    def test_stdin_of_10_mib_handed_through(self):
        stdin = os.urandom(10 << 20)
        run = Run("keep-stdin exit:0", stdin=stdin)
        self.assert_quiet(run)
        self.assertEqual(run.read("stdin"), stdin)

    def test_standard_descriptors_closed(self):
        said = {"said": LINE + b"\n"}
        for n in range(4):
            for closed in itertools.combinations((0, 1, 2), n):
                with self.subTest(closed=closed):
                    run = Run("report keep-stdin stderr:said exit:86", files=said, closed=closed)
                    self.assertEqual((run.status, run.stderr),
                                     (1, b"" if 2 in closed else LINE + b"\n"))
                    self.assertEqual(run.read("stdin"), b"" if 0 in closed else DOMAIN_XML)
                    self.assert_handed_on_clean(run)
                    self.assert_quiet(Run("exit:0", closed=closed))

    def test_other_descriptors_stay_behind(self):
        reading, writing = os.pipe()
        for fd in (reading, writing):
            self.addCleanup(os.close, fd)

        def spread():
            os.dup2(writing, 3)
            os.dup2(writing, 700, inheritable=True)

        def spread_on_an_old_kernel():
            spread()
            deny_syscalls((436,), 38)

        for before in (spread, spread_on_an_old_kernel):
            with self.subTest(before.__name__):
                run = Run("report exit:0", preexec_fn=before, close_fds=False)
                self.assert_quiet(run)
                self.assert_handed_on_clean(run)

    def test_signals_ignored_and_blocked_by_the_caller(self):
        def ignore_child():
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)

        def ignore_all():
            for sig in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
                signal.signal(sig, signal.SIG_IGN)

        def block_all():
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

        for before in (ignore_child, ignore_all, block_all):
            with self.subTest(before.__name__):
                said = {"said": LINE + b"\n"}
                run = Run("report sleep-ms:100 stderr:said exit:86", files=said, preexec_fn=before)
                self.assert_blocked(run)
                self.assertLess(run.seconds, AT_ONCE_S)
                self.assert_handed_on_clean(run)
                self.assert_failed(Run(f"signal:{int(signal.SIGALRM)}", preexec_fn=before),
                                   "signal 14")

    def test_a_forgotten_child_is_not_waited_for_and_not_left(self):
        said = {"said": LINE + b"\n"}
        for fake, check in (("child exit:0", self.assert_quiet),
                            ("child stderr:said exit:86", self.assert_blocked)):
            run = Run(fake, files=said)
            check(run)
            self.assertLess(run.seconds, AT_ONCE_S)
            self.assertEqual(len(run.pids()), 2)
            self.assertEqual(run.survivors(), [])

    def test_a_child_that_left_the_group_is_not_waited_for(self):
        run = Run("escaped-child stderr:said exit:86", files={"said": LINE + b"\n"})
        self.assert_blocked(run)
        self.assertLess(run.seconds, AT_ONCE_S)
        for pid in run.survivors(within_s=0):
            os.kill(pid, signal.SIGKILL)


class Logging(GuardTest):
    """Nobody at the other end is no reason to stay, or to change the answer."""

    def fail(self):
        for closed in (False, True):
            self.set_fail_closed(closed)
            run = Run("exit:1")
            self.assertEqual(run.status, int(closed))
            self.assertEqual(run.stderr != b"", closed)
            self.assertLess(run.seconds, AT_ONCE_S)

    def syslog(self):
        log = Log(SYSLOG)
        self.addCleanup(log.close)
        return log

    def remove_journal(self):
        os.rename(JOURNAL, JOURNAL + ".away")
        self.addCleanup(os.rename, JOURNAL + ".away", JOURNAL)

    def assert_in_syslog(self, log):
        lines = [line for line in log.datagrams() if b"noise" not in line]
        self.assertEqual(len(lines), 2)
        for line, done in zip(lines, (b"allowed", b"blocked")):
            self.assertRegex(line, rb"\A<28>timehandoff-guard\[\d+\]: timehandoff: " + done +
                             rb" migration of web1: [^\n]*\Z")

    def test_the_journal_is_preferred(self):
        log = self.syslog()
        self.fail()
        self.assertEqual(len(list(self.journal.entries())), 2)
        self.assertEqual(list(log.datagrams()), [])

    def test_journal_full(self):
        log = self.syslog()
        self.journal.fill()
        self.fail()
        self.assert_in_syslog(log)

    def test_journal_missing(self):
        log = self.syslog()
        self.remove_journal()
        self.fail()
        self.assert_in_syslog(log)

    def test_journal_left_over_from_a_dead_daemon(self):
        log = self.syslog()
        self.remove_journal()
        dead = Log(JOURNAL)
        dead.socket.close()
        self.addCleanup(os.unlink, JOURNAL)
        self.fail()
        self.assert_in_syslog(log)

    def test_both_full(self):
        log = self.syslog()
        self.journal.fill()
        log.fill()
        self.fail()
        self.assertEqual([line for line in log.datagrams() if b"noise" not in line], [])

    def test_both_missing(self):
        self.remove_journal()
        self.fail()


class Deadline(GuardTest):
    """The cases that take the guard's whole time, all at once."""

    HANGING = {
        "hang": "hang",
        "stop": f"signal:{int(signal.SIGSTOP)}",
        "deaf": "ignore-signals hang",
        "other-group": "leave-group hang",
        "child": "child hang",
        "stopped-child": f"child signal:{int(signal.SIGSTOP)}",
        "line": "stderr:said hang",
        "closed-stderr": "close-stderr hang",
        "flood": "flood",
        "unread-stdin": "hang",
        "endless-stdin": "keep-stdin hang",
    }

    def run_hanging(self, **others):
        calls = {name: {"fake": fake, "name": name, "files": {"said": LINE + b"\n"}}
                 for name, fake in self.HANGING.items()} | others
        calls["unread-stdin"]["stdin"] = b"<domain/>" * (10 << 20 >> 3)
        with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
            futures = {name: pool.submit(Run, **call) for name, call in calls.items()}
        self.entries = list(self.journal.entries())
        return {name: future.result() for name, future in futures.items()}

    def check_hanging(self, runs, closed):
        for name in self.HANGING:
            with self.subTest(name, closed=closed):
                run = runs[name]
                entries = [entry for entry in self.entries
                           if entry["TIMEHANDOFF_DOMAIN_NAME"] == name.encode()]
                self.assert_failed(run, "did not finish in 3000 ms", name, closed, entries)
                self.assertGreater(run.seconds, DEADLINE_S - 0.1)
                self.assertLess(run.seconds, DEADLINE_S + MARGIN_S)
                self.assertEqual(len(run.pids()), 2 if "child" in self.HANGING[name] else 1)
                self.assertEqual(run.survivors(), [])

    def test_hanging(self):
        files = {"said": LINE + b"\n"}
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        os.set_blocking(writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, b"x" * 4096)
        os.set_blocking(writing, True)
        with open(writing, "wb") as full:
            runs = self.run_hanging(
                slow={"fake": "sleep-ms:2000 stderr:said exit:86", "files": files},
                full={"fake": "stderr:said exit:86", "files": files, "stderr": full})
        self.check_hanging(runs, False)
        with self.subTest("a slow checker is let finish"):
            self.assertEqual((runs["slow"].status, runs["slow"].stderr), (1, LINE + b"\n"))
        with self.subTest("nobody empties stderr"):
            self.assertEqual(runs["full"].status, 1)
            self.assertLess(runs["full"].seconds, DEADLINE_S + MARGIN_S)
            self.assertIn(LINE, [entry["MESSAGE"] for entry in self.entries])

    def test_hanging_fail_closed(self):
        self.set_fail_closed(True)
        self.check_hanging(self.run_hanging(), True)

    def test_waiting_costs_nothing(self):
        """A pipe that stays ready because the checker closed its end must not be spun on."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.assert_quiet(Run("close-stderr sleep-ms:1000 exit:0"))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.assertLess(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 0.3)


if __name__ == "__main__":
    enter_namespace()
    unittest.main()
