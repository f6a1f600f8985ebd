#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The page in Cockpit, in a real browser, against the real daemons of two hosts.

Cockpit's own server and bridge run on the first host without a login, once as root and once as
somebody who may only look. What the page shows is compared with what the daemon says to another
client of the bus, what a button does with what a guest's own clock and chronyd say. TH_SCREENSHOTS
names a folder for pictures of the page; without it none is taken.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import sys
import time
import unittest
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

try:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.keys import Keys
except ImportError:
    webdriver = None

from hostkit import LoggedCase, enter  # noqa: E402
import bed  # noqa: E402
from hosts import Hosts, wait_until  # noqa: E402

BUS = ("org.timehandoff1", "/org/timehandoff1")
MANAGER = "org.timehandoff1.Manager"
CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
COCKPIT, AXE = bed.CACHE / "cockpit/usr", bed.CACHE / "axe.min.js"
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-dev-shm-usage", "--window-size=1280,1024")
ROOT_PORT, LOOKER_PORT = 9090, 9091
DEADLINE_S = 20.0
HUB, OTHER_SERVER = "10.77.0.254", "10.77.0.251"
SOURCES = "/etc/chrony/sources.d"
CONFIG = f"""\
[peers]
interval = 2s
peer = hv1 group=lab
peer = hv2 group=lab
[ntp]
server = {HUB}
server = {OTHER_SERVER}
"""
# libvirt takes no slash in a name, and the names of servers have no blank between them.
XSS = "<img src=x onerror=alert(1)>"
SCREENSHOTS = os.environ.get("TH_SCREENSHOTS")

hosts = None


def missing():
    """Why there is no browser to test with, or None."""
    for path in (CHROMIUM, DRIVER, COCKPIT):
        if not os.path.exists(path):
            return f"{path} is not there: tests/hosts/install could not install it"
    return None if webdriver else "python3-selenium is not there"


def setUpModule():
    global hosts
    if missing():
        return
    # As systemd sets it at boot: else a journal that nobody reads yet takes eleven records.
    pathlib.Path("/proc/sys/net/unix/max_dgram_qlen").write_text("512\n")
    PageCase.hosts = hosts = unittest.enterModuleContext(
        Hosts(("hv1", "hv2"), os.environ["TH_STAGE"]))
    bed.call("ip", "addr", "add", f"{OTHER_SERVER}/24", "dev", "hub")
    for host in hosts:
        host.write_config(CONFIG)
    hv1 = hosts["hv1"]
    hv1.path(SOURCES).mkdir(exist_ok=True)
    set_servers(hv1, HUB)
    hv1.start_journald()
    hv1.start_dbus()
    hv1.run(["cp", "-a", f"{COCKPIT}/.", "/usr/"])
    for host in hosts:
        host.start_peerd()
        host.start_daemon()
    # It boots while the rest comes up.
    PageCase.guest = hosts.guest("web1", "hv1", wait=False)
    start_cockpit(hv1, "cockpit", ROOT_PORT)
    start_cockpit(hv1, "cockpit-looker", LOOKER_PORT, "timehandoff")
    PageCase.browser = start_browser()


def start_cockpit(host, name, port, user=None):
    def listens():
        return host.run(["bash", "-c", f": >/dev/tcp/{host.address}/{port}"],
                        check=False).returncode == 0

    host.start(name, ["/usr/lib/cockpit/cockpit-ws", "--no-tls", "--address", host.address,
                      "--port", str(port), "--local-session", "/usr/bin/cockpit-bridge"],
               user=user, ready=listens)


def start_browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    folder = bed.STATE / "browser"
    folder.mkdir()
    for flag in (*FLAGS, f"--user-data-dir={folder}/profile"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    service = Service(DRIVER, env={**os.environ, "HOME": str(folder)})
    browser = webdriver.Chrome(service=service, options=options)
    unittest.addModuleCleanup(browser.quit)
    return browser


def set_servers(host, *servers):
    """Starts the host's chronyd anew, with these servers."""
    host.stop_chronyd()
    path = host.path("/etc/chrony/chrony.conf")
    lines = [line for line in path.read_text().splitlines()
             if not re.match("server|sourcedir", line)]
    servers = [f"server {server} iburst minpoll -2 maxpoll -2" for server in servers]
    path.write_text("\n".join([*servers, f"sourcedir {SOURCES}", *lines, ""]))
    host.path(SOURCES).mkdir(exist_ok=True)
    host.start("chronyd", ["/usr/sbin/chronyd", "-x", "-d", "-u", "root", "-f",
                           "/etc/chrony/chrony.conf"])
    host.wait_synced()


def plain(value):
    """A value of the bus as busctl prints it, without the types."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return plain(value["data"]) if set(value) == {"type", "data"} else \
            {name: plain(inner) for name, inner in value.items()}
    return value


TABLE = """
const found = document.querySelector(`table[aria-label="${arguments[0]}"]`);
if (!found) return [];
const names = [...found.tHead.rows[0].cells].map(cell => cell.textContent);
return [...found.tBodies[0].rows].map(row => Object.fromEntries([...row.cells].map((cell, i) =>
    [names[i], {text: cell.textContent, ns: [...cell.querySelectorAll("data")].map(
        data => Number(data.value)), marks: [...cell.querySelectorAll(".mark")].map(
        mark => mark.textContent), plots: cell.querySelectorAll("svg circle").length}])));
"""


@unittest.skipIf(missing(), missing())
class PageCase(LoggedCase):
    """The page of hv1 in a window of its own, and how it stands with the hosts."""

    browser = guest = None
    # Everything the browser asked for, and complained about, in all tests.
    requests, complaints = [], []

    def setUp(self):
        self.hv1, self.hv2 = hosts["hv1"], hosts["hv2"]
        for host in hosts:
            self.addCleanup(host.set_shift, 0)
        self.addCleanup(self.collect_logs)
        self.open()

    def open(self, port=ROOT_PORT, width=1280):
        self.browser.set_window_size(width, 1024)
        self.browser.get(f"http://{self.hv1.address}:{port}/cockpit/@localhost/timehandoff/"
                         "index.html")
        self.wait("the page has asked", lambda: self.texts("#ntp-servers"))

    def collect_logs(self):
        for entry in self.browser.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                # A browser begins with a page of its own.
                if not message["params"]["documentURL"].startswith("chrome:"):
                    self.requests.append(message["params"]["request"]["url"])
            elif message["method"] == "Network.webSocketCreated":
                self.requests.append(message["params"]["url"])
        self.complaints.extend(entry["message"] for entry in self.browser.get_log("browser"))

    # What is there

    def script(self, text, *arguments):
        return self.browser.execute_script(text, *arguments)

    def texts(self, selector):
        """The texts of what is visible and fits the selector."""
        return self.script(
            "return [...document.querySelectorAll(arguments[0])].filter(one => "
            "one.checkVisibility()).map(one => one.innerText.trim()).filter(text => text)",
            selector)

    def said(self):
        return " ".join(self.texts("#said"))

    def table(self, label):
        return self.script(TABLE, label)

    def peer(self, name="hv2"):
        return next((row for row in self.table("Peers") if row["Peer"]["text"].startswith(name)),
                    None)

    def guest_row(self, name="web1"):
        return next((row for row in self.table("Guests") if row["Guest"]["text"] == name), None)

    def button(self, words):
        """The one visible button with these words, as a browser tells a screen reader."""
        found = [one for one in self.browser.find_elements("css selector", "button")
                 if one.is_displayed() and one.accessible_name == words]
        self.assertEqual(len(found), 1, words)
        return found[0]

    def wait(self, what, condition, deadline_s=DEADLINE_S):
        return wait_until(what, condition, deadline_s, every_s=0.1)

    def refresh(self):
        """Has the page ask now; for tests of what it shows, not of when."""
        self.script("document.dispatchEvent(new Event('visibilitychange'))")

    def take_picture(self, name):
        """All of the page, or as much as is on a telephone."""
        if not SCREENSHOTS:
            return
        width, height = self.browser.get_window_size().values()
        if self.script("return innerWidth") > 900:
            self.browser.set_window_size(
                width, height - self.script("return innerHeight - document.body.scrollHeight"))
        self.browser.save_screenshot(f"{SCREENSHOTS}/{name}.png")

    def assert_accessible(self):
        """No violation of what axe-core knows, of whatever severity."""
        if not AXE.exists():
            return
        self.script(AXE.read_text())
        found = self.browser.execute_async_script(
            "const done = arguments[0]; axe.run().then(result => done(result.violations), "
            "error => done([{id: String(error), nodes: []}]))")
        self.assertEqual([(one["id"], [node["html"] for node in one["nodes"]])
                          for one in found], [])

    # What is so

    def bus(self, name):
        done = self.hv1.run(["busctl", "--json=short", "get-property", *BUS, MANAGER, name])
        return plain(json.loads(done.stdout)["data"])

    def wait_no_alert(self):
        self.wait("no alert on hv1", lambda: [kind for kind, *_ in self.bus("Alerts")
                                              if kind != "ntp-unconfigured"] == [])


class Shown(PageCase):
    """What the page shows is what the daemon says."""

    def facts(self):
        """The clock's facts by their term."""
        return dict(self.script(
            "return [...document.querySelectorAll('dl div')].map(one => [one.querySelector('dt')"
            ".textContent, one.querySelector('dd').textContent])"))

    def test_the_clock(self):
        self.wait("the host's name", lambda: self.texts("#host") == [self.bus("HostName")])
        facts = self.facts()
        self.assertEqual(facts["Synchronised"],
                         f"{self.bus('Synchronised')} says {self.bus('SyncFrom')}")
        self.assertEqual(facts["Source"], self.bus("SyncSource"))
        self.assertEqual(facts["NTP servers"], ", ".join(self.bus("NtpServers")))

        def bound_is_shown():
            self.refresh()
            time.sleep(0.5)
            shown = self.script("return Number(document.querySelector('dd data').value)")
            return shown == self.bus("ErrorBoundNs")

        self.wait("the bound", bound_is_shown)
        self.assertRegex(self.facts()["Bound"], r"^within [\d.]+ (ms|us) of UTC$")

    def test_servers_and_where_each_comes_from(self):
        found = json.loads(self.hv1.run(["timehandoff", "ntp", "show", "--json"]).stdout)
        rows = self.table("NTP servers")
        self.assertEqual([(row["Server"]["text"], row["Configured in"]["text"]) for row in rows],
                         [(server["name"], server["where"]) for server in found["servers"]])
        self.assertEqual(rows[0]["Configured in"]["text"], "/etc/chrony/chrony.conf:1")
        self.assertEqual(rows[0]["Use"]["text"], "selected")

    def test_peers(self):
        self.wait("a gap", lambda: self.peer() and self.peer()["Gap (peer − here)"]["ns"])

        def is_same():
            self.refresh()
            time.sleep(0.5)
            row, (peer,) = self.peer(), self.bus("Peers")
            return row["Gap (peer − here)"]["ns"] == [peer["OffsetNs"]] and (row, peer)

        row, peer = self.wait("the newest gap", is_same)
        status = self.hv1.run(["timehandoff", "status"], check=False).stdout
        shown = row["Gap (peer − here)"]["text"]
        # Written as the command writes it, unless there is a newer one by now.
        if self.bus("Peers")[0]["SeenRealNs"] == peer["SeenRealNs"]:
            self.assertIn(shown, status)
        self.assertRegex(shown, r"^[-+]?[\d.]+ [num]?s ±[\d.]+ [num]?s$")
        self.assertEqual(row["Peer"]["text"], f"{peer['Host']} {peer['Group']}")
        self.assertEqual(row["Synchronised"]["text"], peer["Synchronised"])
        self.assertEqual(row["NTP servers"]["text"], peer["NtpServers"])
        self.assertEqual(row["Answers"]["text"], "no key")
        self.wait("gaps over time", lambda: self.peer()["Lately"]["plots"] >= 3)

    def test_an_override(self):
        self.addCleanup(self.hv1.run, ["timehandoff", "override", "--clear"])
        self.hv1.run(["timehandoff", "override", "--for", "1h", "--source", "hv9"])
        self.wait("the override", lambda: any(
            text.startswith("Override in force: migrations from hv9 pass unchecked until 20")
            for text in self.texts("#rights")))
        self.hv1.run(["timehandoff", "override", "--clear"])
        self.wait("its end", lambda: not self.texts("#rights"))

    def test_on_a_telephone(self):
        for dark in (False, True):
            with self.subTest(dark=dark):
                self.script("localStorage.setItem('shell:style', arguments[0])",
                            "dark" if dark else "light")
                self.addCleanup(self.script, "localStorage.removeItem('shell:style')")
                self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
                    "width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True})
                self.addCleanup(self.browser.execute_cdp_cmd,
                                "Emulation.clearDeviceMetricsOverride", {})
                self.open()
                self.wait("a gap", lambda: self.peer() and self.peer()["Lately"]["plots"])
                self.assertEqual(self.script("return document.documentElement.scrollWidth"), 360)
                self.assertEqual(self.script(
                    "return document.documentElement.classList.contains('dark')"), dark)
                self.assertIn("Gap (peer − here)", self.script(
                    "return getComputedStyle(document.querySelector('#peers td'), '::before')"
                    ".content"))
                self.assert_accessible()
        self.take_picture("telephone")

    def test_dark_as_cockpit_says(self):
        def background():
            return self.script("return getComputedStyle(document.body).backgroundColor")

        light = background()
        self.script("dispatchEvent(new CustomEvent('cockpit-style', {detail: {style: 'dark'}}))")
        self.assertNotEqual(background(), light)
        self.assert_accessible()
        self.script("dispatchEvent(new CustomEvent('cockpit-style', {detail: {style: 'light'}}))")
        self.assertEqual(background(), light)
        self.assert_accessible()


class Alert(PageCase):
    def alerts(self):
        return self.texts("#alert-list li")

    def test_a_gap_appears_and_clears(self):
        self.wait_no_alert()
        self.wait("no alert shown", lambda: not any("hv2" in text for text in self.alerts()))
        self.hv2.set_shift(1.0)
        self.wait("the alert", lambda: any("gap" in text for text in self.alerts()))
        (kind, peer, _since, reason), = [one for one in self.bus("Alerts") if one[0] == "gap"]
        shown, = [text for text in self.alerts() if "gap" in text]
        for words in (kind, peer, reason):
            self.assertIn(words, shown)
        self.wait("a mark on the peer", lambda: self.peer()["Peer"]["marks"])
        self.assertEqual(self.peer()["Peer"]["marks"], [f"gap: {reason}"])
        self.assert_accessible()
        self.hv2.set_shift(0)
        self.wait("its end", lambda: not any("gap" in text for text in self.alerts()))
        self.wait("no mark", lambda: not self.peer()["Peer"]["marks"])

    def test_servers_that_differ(self):
        self.wait_no_alert()
        self.addCleanup(self.restart_daemon, self.hv2)
        self.addCleanup(set_servers, self.hv2, HUB)
        set_servers(self.hv2, HUB, OTHER_SERVER)
        self.restart_daemon(self.hv2)
        self.wait("what differs", lambda: f"only there: {OTHER_SERVER}" in
                  self.peer()["NTP servers"]["marks"])
        self.wait("the alert", lambda: any("ntp-differs" in text for text in self.alerts()))
        self.wait("the mark", lambda: any(f"only on hv2: {OTHER_SERVER}" in mark
                                          for mark in self.peer()["Peer"]["marks"]))
        self.take_picture("alert")

    @staticmethod
    def restart_daemon(host):
        host.stop_daemon()
        host.start_daemon()


class Acting(PageCase):
    def test_measure_now(self):
        self.wait("a gap", lambda: self.peer())
        self.hv2.set_shift(0.25)
        self.button("Measure now").click()
        self.wait("what was measured",
                  lambda: re.match(r"hv2 is (250|249\.9\d*|250\.0\d*) ms ahead of this host, ±",
                                   self.said()))
        self.wait("the new gap", lambda: abs(self.peer()["Gap (peer − here)"]["ns"][0] - 250e6) <
                  50e6)

    def test_by_keyboard(self):
        """From the top of the page by Tab to a button; it keeps the focus when the page is anew."""
        self.wait("a peer", self.peer)
        self.hv2.set_shift(-0.25)
        body = self.browser.find_element("css selector", "body")
        body.send_keys(Keys.TAB)
        for _ in range(10):
            focused = self.browser.switch_to.active_element
            if focused.text == "Measure now":
                break
            focused.send_keys(Keys.TAB)
        self.assertEqual(focused.text, "Measure now")
        outline = self.script("return getComputedStyle(document.activeElement).outlineStyle")
        self.assertEqual(outline, "solid")
        focused.send_keys(Keys.ENTER)
        self.wait("what was measured", lambda: "behind this host" in self.said())
        # This one is in a table that changes all the time.
        self.wait("the guest", self.guest_row)
        self.script("arguments[0].focus()", self.button("Hand off now: web1"))
        before = self.peer()
        self.wait("a newer look", lambda: self.refresh() or self.peer() != before)
        self.assertEqual(self.browser.switch_to.active_element.accessible_name,
                         "Hand off now: web1")

    def test_hand_off_now(self):
        self.guest.wait_ready()
        self.wait("the guest", self.guest_row)
        # So far that its slope needs no watching.
        self.guest.step_clock(-30)
        self.assertLess(self.guest.reading()[0], -29)
        self.button("Hand off now: web1").click()
        self.wait("its end", lambda: re.match(
            r"web1: (stepped|improved), residual [-+]?[\d.]+ [num]?s ±", self.said()))
        self.assertLess(abs(self.guest.reading()[0]), 0.05)
        handoff, = self.bus("Handoffs")
        row = self.wait("the last handoff", lambda: self.guest_row()["Residual"]["ns"] and
                        self.guest_row())
        self.assertEqual((row["Before (guest − here)"]["ns"], row["Step"]["ns"],
                          row["Residual"]["ns"]),
                         ([handoff["BeforeNs"]], [handoff["SteppedNs"]], [handoff["ResidualNs"]]))
        self.assertRegex(row["Step"]["text"], r"^\+(30|29\.\d+) s$")
        self.assertIn(f"{handoff['Outcome']} request", row["Last handoff"]["text"])
        record = self.wait("the record", lambda: next(
            (row for row in self.table("History") if row["Guest"]["text"] == "web1"), None))
        self.assertIn("guest web1 (request): ", record["What"]["text"])
        self.assert_accessible()
        self.take_picture("page")

    def test_a_handoff_that_cannot_be(self):
        # Its button is pressed before the page has seen that it is gone.
        name = "ghost"
        guest = hosts.guest(name, "hv1", agent=False, wait=False)
        self.wait("the guest", lambda: self.refresh() or self.guest_row(name))
        button = self.button(f"Hand off now: {name}")
        guest.destroy()
        button.click()
        self.wait("the reason", lambda: "no domain" in self.said() and "runs here" in self.said())
        self.wait("no such guest", lambda: self.refresh() or self.guest_row(name) is None)


class NtpList(PageCase):
    def setUp(self):
        super().setUp()
        self.addCleanup(self.forget)

    def forget(self):
        for path in self.hv1.path(SOURCES).iterdir():
            path.unlink()
        set_servers(self.hv1, HUB)

    def drop_in(self):
        path = self.hv1.path(f"{SOURCES}/timehandoff.sources")
        return path.read_text() if path.exists() else None

    def plan(self):
        """Opens the dialog, and returns the change that it shows."""
        self.wait("rights", lambda: self.button("Apply the NTP list…").get_attribute(
            "aria-disabled") == "false")
        self.button("Apply the NTP list…").click()
        return self.wait("the change", lambda: self.texts("#plan pre"))[0]

    def has(self):
        lines = self.hv1.run(["chronyc", "-c", "-N", "sources"]).stdout.splitlines()
        return {line.split(",")[2] for line in lines}

    def test_the_change_is_shown_before_it_is_made(self):
        shown = self.plan()
        self.assertIn(f"+++ {SOURCES}/timehandoff.sources", shown)
        self.assertIn(f"+server {OTHER_SERVER} iburst", shown)
        self.assertIsNone(self.drop_in())
        self.assert_accessible()
        self.take_picture("ntp")
        self.button("Make this change").click()
        self.wait("its end", lambda: "Applied." in self.texts("#plan p"))
        self.assertIn(f"server {OTHER_SERVER} iburst", self.drop_in())
        self.assertEqual(self.has(), {HUB, OTHER_SERVER})
        self.button("Close").click()
        self.wait("the new server", lambda: OTHER_SERVER in [
            row["Server"]["text"] for row in self.table("NTP servers")])
        self.assertEqual(self.table("NTP servers")[1]["Configured in"]["text"],
                         f"{SOURCES}/timehandoff.sources:2")
        self.assertIn("nothing to change", self.plan())
        self.assertEqual(self.texts("#plan button"), ["Close"])

    def test_escape_changes_nothing(self):
        self.plan()
        self.browser.switch_to.active_element.send_keys(Keys.ESCAPE)
        self.wait("no dialog", lambda: not self.texts("dialog"))
        self.assertIsNone(self.drop_in())
        self.assertEqual(self.has(), {HUB})
        self.assertEqual(self.browser.switch_to.active_element.text, "Apply the NTP list…")

    def test_another_change_meanwhile_is_asked_about_anew(self):
        self.plan()
        third = "10.77.0.252"
        self.addCleanup(self.hv1.write_config, CONFIG)
        self.hv1.write_config(CONFIG + f"server = {third}\n")
        self.button("Make this change").click()
        self.wait("the new change", lambda: any(f"+server {third}" in text
                                                for text in self.texts("#plan pre")))
        self.assertIsNone(self.drop_in())
        self.button("Make this change").click()
        self.wait("its end", lambda: "Applied." in self.texts("#plan p"))
        self.assertEqual(self.has(), {HUB, OTHER_SERVER, third})


class Without(PageCase):
    """What the page says when it cannot show or may not act."""

    def test_the_daemon(self):
        self.wait("a peer", self.peer)
        self.addCleanup(lambda: self.hv1.is_running("daemon") or self.hv1.start_daemon())
        self.hv1.stop_daemon()
        self.wait("the message", lambda: any("timehandoffd is not running on this host" in text
                                             for text in self.texts("#trouble")))
        self.assertIn("systemctl enable --now timehandoffd", self.texts("#trouble")[0])
        # Nothing old is left standing.
        self.assertEqual(self.texts("section h2"), ["NTP servers", "History"])
        self.assert_accessible()
        self.take_picture("stopped")
        self.hv1.start_daemon()
        self.wait("a peer again", lambda: not self.texts("#trouble") and
                  "Peers" in self.texts("section h2") and self.peer())

    def test_a_daemon_that_hangs(self):
        self.wait("a peer", self.peer)
        pid = self.hv1.pid_of("daemon")
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(os.kill, pid, signal.SIGCONT)
        self.wait("the message", lambda: any("timehandoffd cannot be asked" in text
                                             for text in self.texts("#trouble")))
        self.assertEqual(self.texts("section h2"), ["NTP servers", "History"])
        os.kill(pid, signal.SIGCONT)
        self.wait("a peer again", lambda: not self.texts("#trouble") and self.peer())

    def test_rights(self):
        self.open(LOOKER_PORT)
        self.wait("the message", lambda: any("You may look, not act" in text
                                             for text in self.texts("#rights")))
        self.wait("a gap all the same", lambda: self.peer() and
                  self.peer()["Gap (peer − here)"]["ns"])
        self.wait("the guest", self.guest_row)
        self.assert_accessible()
        before = self.bus("Handoffs")
        for words in ("Measure now", "Apply the NTP list…", "Hand off now: web1"):
            button = self.button(words)
            self.assertEqual(button.get_attribute("aria-disabled"), "true", words)
            button.click()
        time.sleep(1)
        self.assertEqual((self.said(), self.texts("dialog")), ("", []))
        self.assertEqual(self.bus("Handoffs"), before)


class Hostile(PageCase):
    """Names that are HTML: the page shows them letter by letter."""

    def assert_text(self):
        self.assertEqual(self.script("return document.querySelectorAll('img, script:not([src])')"
                                     ".length"), 0)
        self.assert_accessible()

    def test_name_of_a_guest(self):
        guest = hosts.guest(XSS, "hv1", agent=False, wait=False)
        self.addCleanup(guest.destroy)
        self.wait("the guest", lambda: self.refresh() or self.guest_row(XSS))
        self.assert_text()
        # Its handoff comes to nothing, and tells so with its name.
        guest.domain().suspend()
        guest.domain().resume()
        self.wait("its handoff", lambda: "no-agent" in self.guest_row(XSS)["Last handoff"]["text"])
        self.wait("its record", lambda: any(row["Guest"]["text"] == XSS and XSS in
                                            row["What"]["text"] for row in self.table("History")))
        self.assert_text()
        self.button(f"Hand off now: {XSS}").click()
        self.wait("what is said", lambda: XSS in self.said())
        self.assert_text()

    def test_what_a_peer_says(self):
        """As a peerd that was taken over could publish it."""
        path = self.hv1.path("/run/timehandoff/peers/peers")
        self.wait("peers", path.exists)
        self.addCleanup(self.hv1.start_peerd)
        self.hv1.stop_peerd(signal.SIGKILL)
        text = path.read_text()
        tag = urllib.parse.quote(XSS).lower()
        for pattern, to in (("^host=hv2$", f"host={tag}"),
                            ("^ntp-servers=.*$", f"ntp-servers={tag.replace('%20', '/')}"),
                            ("^group=.*$", f"group={tag}"),
                            ("^boot-time-ns=.*$",
                             f"boot-time-ns={time.clock_gettime_ns(time.CLOCK_BOOTTIME)}"),
                            ("^refresh-ns=.*$", "refresh-ns=0")):
            text, n = re.subn(pattern, to, text, flags=re.M)
            self.assertGreater(n, 0, pattern)
        other = path.with_name(".peers.test")
        other.write_text(text)
        shutil.copystat(path, other)
        os.chown(other, path.stat().st_uid, path.stat().st_gid)
        other.rename(path)
        self.wait("the peer", lambda: self.peer(XSS))
        self.assertEqual(self.peer(XSS)["Peer"]["text"], f"{XSS} {XSS}")
        self.assertIn(XSS.replace(" ", "/"), self.peer(XSS)["NTP servers"]["text"])
        self.assertEqual(self.bus("Peers")[0]["Host"], XSS)
        self.assert_text()


class Traffic(PageCase):
    """Last: of all that the browser did in the tests before."""

    def test_no_request_to_another_origin(self):
        self.collect_logs()
        ours = {f"{self.hv1.address}:{port}" for port in (ROOT_PORT, LOOKER_PORT)}
        # The files of the page, and the socket it talks over, are among what was seen.
        self.assertTrue(any(url.endswith("/timehandoff/view.js") for url in self.requests))
        self.assertTrue(any(url.startswith("ws:") for url in self.requests))
        self.assertEqual({url for url in self.requests
                          if urllib.parse.urlsplit(url).netloc not in ours}, set())

    def test_no_complaint(self):
        self.collect_logs()
        self.assertEqual([text for text in self.complaints if "/favicon.ico" not in text], [])

    @unittest.skipUnless(AXE.exists(), "axe-core is not there: tests/hosts/install could not "
                         "fetch it, so nothing was looked at for accessibility")
    def test_axe_finds_what_is_wrong(self):
        self.script("document.querySelector('#alerts').append(document.createElement('input'))")
        with self.assertRaisesRegex(AssertionError, "label"):
            self.assert_accessible()


def load_tests(loader, _tests, _pattern):
    suite = unittest.TestSuite()
    for case in (Shown, Acting, Alert, NtpList, Without, Hostile, Traffic):
        suite.addTests(loader.loadTestsFromTestCase(case))
    return suite


if __name__ == "__main__":
    enter()
    unittest.main(verbosity=2)
