#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What bash and zsh offer after `timehandoff` and TAB, against what every --help says.

Both shells are real ones, interactive, on a host with the staged install: they find the completion
by themselves, and the words are those that they would show. hv1 has a libvirtd with domains, and
hv2 as a peer. TH_STAGE names a staged install.
"""

import os
import pty
import re
import select
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import hostkit  # noqa: E402
import bed  # noqa: E402
from guests import Guest  # noqa: E402
from hosts import Hosts, wait_until  # noqa: E402

OFFERED = "/run/offered"
FOLDER = "/run/home/here"
# A name that a shell would run if it expanded it.
HOSTILE = "x$(touch ${PWD%here}ran)`touch ${PWD%here}ran`"

# Each shell is told to write down what it offers, and to say when that is all.
BASH = f"""\
. /usr/share/bash-completion/bash_completion
_completion_loader timehandoff
eval "$(complete -p timehandoff | sed 's/_timehandoff/_noted/')"
_noted() {{
    _timehandoff "$@"
    printf '%s\\n' "${{COMPREPLY[@]}}" end >{OFFERED}
}}
"""
ZSH = f"""\
fpath=(FOLDER $fpath)
autoload -Uz compinit
compinit -D -u
zstyle ':completion:*' list-max-items 1000
LISTMAX=1000
compadd() {{
    local -a noted
    if [[ "${{@[1,(i)(-|--)]}}" != *-[OAD]' '* ]]; then
        builtin compadd -O noted "$@"
        print -rl -- $noted >>{OFFERED}
    fi
    builtin compadd "$@"
}}
noted() {{
    _main_complete
    print end >>{OFFERED}
}}
zle -C noted complete-word noted
bindkey '^I' noted
"""


def setUpModule():
    hosts = unittest.enterModuleContext(Hosts(("hv1", "hv2"), os.environ["TH_STAGE"]))
    Case.host = host = hosts["hv1"]
    host.write_config("[peers]\npeer = hv2\npeer = [fd77::2]:10123\n")
    host.start_peerd()
    for name in ("web1", "web2", "db1", HOSTILE):
        host.connection().defineXML(Guest(name, host).xml())
    host.path(FOLDER).mkdir()
    (host.path(FOLDER) / "disk.xml").write_text("")
    (host.path(FOLDER) / "folder").mkdir()
    wait_until("peers", lambda: host.path("/run/timehandoff/peers/peers").exists(), 20.0,
               [host.log("peerd")])


def tearDownModule():
    for domain in Case.host.connection().listAllDomains():
        domain.undefine()


class Shell:
    """An interactive shell on a host, at a terminal of its own."""

    def __init__(self, host, argv, setup):
        self._host = host
        host.path("/run/setup").write_text(setup)
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            environment = {"PATH": os.environ["PATH"], "TERM": "vt100", "LC_ALL": "C.UTF-8",
                           "HOME": "/run/home", "PS1": "$ "}
            os.execvpe("nsenter", host.entering() + argv, environment)
        self._type(f"cd {FOLDER}; . /run/setup; echo end >{OFFERED}\n")
        self._wait()

    def _type(self, text):
        os.write(self._terminal, text.encode())

    def _wait(self):
        """What was offered, when it is all there."""
        shown = b""

        def is_whole():
            nonlocal shown
            # Else the terminal is full one day.
            while select.select([self._terminal], [], [], 0)[0]:
                shown += os.read(self._terminal, 65536)
            path = self._host.path(OFFERED)
            return path.exists() and path.read_text().endswith("end\n")

        try:
            wait_until("the shell", is_whole, 20.0)
        except bed.Failure as failure:
            raise bed.Failure(f"{failure}\n{shown.decode(errors='replace')}") from None
        words = self._host.path(OFFERED).read_text().splitlines()[:-1]
        self._host.path(OFFERED).unlink()
        return sorted({word.rstrip("=") for word in words if word})

    def offers(self, line):
        """The words that TAB offers after that line."""
        # ^U empties the line that is left from the last time.
        self._type(f"\x15{line}\t")
        return self._wait()

    def close(self):
        os.kill(self._pid, 9)
        os.waitpid(self._pid, 0)
        os.close(self._terminal)


def help_of(host, *words):
    return host.run(["timehandoff", *words, "--help"]).stdout


def options_in(text):
    return re.findall(r"(?<![\w-])--?[A-Za-z][a-z-]*", text)


def truth(host):
    """Line that was typed -> the words that the program's own help has for it."""
    commands = re.findall(r"^  ([\w-]+)  +\S", help_of(host), re.M)
    # These two it has without a word in the help.
    wanted = {"": commands + ["--help", "--version"], "-": ["--help", "--version"]}
    for command in commands:
        usage = help_of(host, command)
        synopsis = re.match(r"Usage: (.*(?:\n +.*)*)", usage)[1]
        forms = re.findall(r"timehandoff [\w-]+ ([a-z][\w-]*)(.*)", synopsis)
        for action, rest in forms:
            wanted[f"{command} {action} -"] = options_in(rest) + ["--help"]
        if forms:
            wanted[f"{command} "] = [action for action, _ in forms] + ["--help"]
        else:
            listed = re.findall(r"^  (-.*?)(?:  |$)", usage, re.M)
            wanted[f"{command} -"] = options_in("\n".join([synopsis, *listed])) + ["--help"]
    return {line: sorted(set(words)) for line, words in wanted.items()}


class Case:
    """Both shells have to pass."""

    host = None
    maxDiff = None

    def offers(self, line):
        return self.shell.offers("timehandoff " + line)

    def test_all_words_of_the_help_and_no_others(self):
        wanted = truth(self.host)
        self.assertGreater(len(wanted), 15)
        for line, words in wanted.items():
            with self.subTest(line):
                self.assertEqual(self.offers(line), words)

    def test_words_that_were_begun(self):
        self.assertEqual(self.offers("h"), ["history", "hook"])
        self.assertEqual(self.offers("history --d"), ["--directory", "--domain"])
        self.assertEqual(self.offers("nonsense -"), [])

    def test_domains(self):
        for line in ("sync ", "history --domain ", "dry-run --domain ", "dry-run --domain="):
            with self.subTest(line):
                self.assertEqual(self.plain(self.offers(line)),
                                 sorted(["db1", "web1", "web2", HOSTILE]))
        self.assertEqual(self.offers("sync web"), ["web1", "web2"])
        for line in ("guest lint d", "dry-run d"):
            self.assertEqual(self.offers(line), ["db1", "disk.xml"])
        self.assertEqual([path for path in self.host.path("/run/home").rglob("ran")], [])

    def test_hosts(self):
        for line in ("measure ", "dry-run --source ", "dry-run --to ", "override --source ",
                     "status -H "):
            with self.subTest(line):
                self.assertEqual(self.offers(line), ["fd77::2", "hv2"])
        # To bash a colon begins another word.
        self.assertEqual(self.offers("measure fd77:"), [self.after_a_colon])

    def test_files_and_times(self):
        self.assertEqual(self.offers("dry-run di"), ["disk.xml"])
        self.assertEqual(self.offers("guest dhcp di"), ["disk.xml"])
        self.assertEqual(self.offers("history --directory "), ["folder"])
        self.assertIn("2h", self.offers("override --for "))
        self.assertEqual(self.offers("history --lines "), [])

    def test_without_libvirt_and_peers(self):
        self.host.stop_libvirtd()
        self.addCleanup(self.host.start_libvirtd)
        self.assertEqual(self.offers("sync "), [])


class Bash(Case, unittest.TestCase):
    after_a_colon = ":2"

    def setUp(self):
        self.shell = Shell(self.host, ["bash", "--norc", "--noprofile", "-i"], BASH)
        self.addCleanup(self.shell.close)

    @staticmethod
    def plain(words):
        """Without the quotes that bash wants to have around what is special to it."""
        return sorted(re.sub(r"\\(.)", r"\1", word) for word in words)


class Zsh(Case, unittest.TestCase):
    after_a_colon = "fd77::2"

    def setUp(self):
        stage = os.environ["TH_STAGE"]
        folder, = (path for path, _, names in os.walk(stage) if "_timehandoff" in names)
        self.shell = Shell(self.host, ["zsh", "-f", "-i"],
                           ZSH.replace("FOLDER", folder.removeprefix(stage)))
        self.addCleanup(self.shell.close)

    @staticmethod
    def plain(words):
        return words


if __name__ == "__main__":
    hostkit.enter()
    unittest.main()
