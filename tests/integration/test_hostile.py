#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Attackers on the network, against the installed programs, at both ends.

At the asking end (the hook's checker, the command, the watch over the peers) an attacker sits
between the hosts and sends what he likes, beside the right answers or in their place. At the
answering end he sends a responder what he likes, from any address. What he gets is never more than
silence, a wider bound, or the word that an answer was not proven.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import signal
import socket
import struct
import sys
import threading
import time
import unittest
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import hostkit  # noqa: E402
import middle  # noqa: E402
from hostkit import HUB, PORT, Case, Key, ask, header, identity, publish  # noqa: E402
from hosts import wait_until  # noqa: E402
from middle import LIE_S, Middle, Sniffer, datagram, lie, send_raw  # noqa: E402

HOOK = "/etc/libvirt/hooks/qemu.d/50-timehandoff"
VERDICT = "afe8100e7f144f3c78a3a5f1614874a4"
DOMAIN = uuid.UUID("6c5cd5c2-6a1d-4f65-9d0e-0b6e6b1f7a12")
STAMP_KEY = Key(0x9c000001)
KEY, OTHER_KEY = Key(7), Key(9, "AES256", seed=3)
DEADLINE_S = 30.0
# On a machine so busy that no answer came in time, it is asked again.
TRIES = 8
ICMP_WORDS = 3


def setUpModule():
    hosts = hostkit.bring_up("hv1", "hv2", "hv3")
    for name in ("hv1", "hv3"):
        publish(hosts[name], domains=[(DOMAIN, "running", STAMP_KEY)] if name == "hv1" else ())
    publish(hosts["hv2"])


# Attacks. Each yields what goes to the asker; the attacker has seen the question and the answer.

def spoofed(_, question, __):
    """By who has not seen the question: its cookie is guessed."""
    yield from (lie(question, cookie=bytes([n]) * 8) for n in range(1, 9))


def zero_origin(_, question, __):
    yield lie(question, cookie=bytes(8))
    yield lie(bytes(48), cookie=bytes(8)) + KEY.mac(lie(bytes(48), cookie=bytes(8)))


def unproven(_, question, __):
    """A lie that lacks nothing but the MAC."""
    yield lie(question)


def wrong_key(_, question, __):
    """Under the right id with another secret, and under another key that the asker knows."""
    for key in (Key(KEY.number, seed=8), OTHER_KEY, Key(STAMP_KEY.number, seed=8), Key(0)):
        yield lie(question) + key.mac(lie(question))


def crypto_nak(_, question, answer):
    yield lie(question) + bytes(4)
    yield answer[:48] + bytes(4)


def kiss_of_death(_, question, __):
    """Go away, says somebody who can't prove that he may say so."""
    for word in (b"RATE", b"DENY", b"RSTR"):
        yield lie(question, stratum=0, reference=int.from_bytes(word, "big"))
    # Time enough to go, before the right answer is there.
    time.sleep(0.02)


def reflected(_, question, __):
    """The question itself, whose MAC is right, as its own answer."""
    yield question
    yield bytes([question[0] & 0xf8 | 4]) + question[1:]
    if len(question) % 64 != 48:  # it has a MAC
        yield lie(question) + question[48:]


def replayed(between, _, __):
    """Proven answers to other questions: of this measurement, and of one when the clock was off."""
    yield from [*Asking.recorded, *between.sent][-24:]


def other_modes(_, question, __):
    yield from (lie(question, mode=mode) for mode in (0, 1, 2, 3, 5, 6, 7))
    yield from (lie(question, version=version) for version in (0, 1, 2, 3, 5, 6, 7))


def oversize(_, question, answer):
    yield from (lie(question) + bytes(size) for size in (20, 64, 1200, 60000))
    yield from (answer + answer, answer + bytes(1024))


def truncated(_, __, answer):
    yield from (answer[:size] for size in (0, 1, 4, 47, 49, 52, 64, 108) if size < len(answer))


def without_its_mac(_, __, answer):
    yield answer[:48]


def altered(between, _, answer):
    """One bit of the right answer is another one, in its stamps or anywhere."""
    for first, bits in ((32 * 8, 128), (0, len(answer) * 8)):
        bit = first + between.chance.randrange(bits)
        data = bytearray(answer)
        data[bit // 8] ^= 1 << bit % 8
        yield bytes(data)


def from_elsewhere(between, question, _):
    between.send_from_elsewhere(lie(question))
    return ()


def rubbish(between, _, __):
    yield from (between.chance.randbytes(between.chance.randrange(200)) for _ in range(20))


def unreachable(between, _, __):
    """Forged word from the network that nobody is there."""
    for _ in range(ICMP_WORDS):
        between.send_unreachable()
    return ()


ATTACKS = [spoofed, zero_origin, unproven, wrong_key, crypto_nak, kiss_of_death, reflected,
           replayed, other_modes, oversize, truncated, without_its_mac, altered, from_elsewhere,
           rubbish, unreachable]
# Asked without a key these are as good as the right answer: nothing is proven then, and it is said.
FOOL_WHO_HAS_NO_KEY = {unproven, without_its_mac, altered, kiss_of_death}


def beside(attack):
    """The attack comes first, and then the right answer."""
    def run(between, question, answer):
        if answer:
            yield from attack(between, question, answer)
            between.sent.append(answer)
            yield answer
    return run


def instead(attack):
    """The attacker keeps the right answer to himself."""
    def run(between, question, answer):
        if answer:
            yield from attack(between, question, answer)
    return run


class Hostile(Case):
    """hv1 answers, hv2 asks."""

    def setUp(self):
        super().setUp()
        self.hv3 = self.hosts["hv3"]

    def middle(self, attack, host=None):
        between = Middle(attack, host or self.hv1)
        self.addCleanup(between.close)
        return between

    def stamp(self, address):
        return ('<o:origin xmlns:o="urn:timehandoff:origin:1" host="hv1" '
                f'uuid="{self.hv1.uuid}" key-id="{STAMP_KEY.number}" '
                f'key="HEX:{STAMP_KEY.secret.hex()}"><o:address>{address}</o:address></o:origin>')

    def hook(self, name, address):
        """The verdict on a migration whose stamp names that address, by the names of its fields."""
        before = len(self.hv2.journal(MESSAGE_ID=VERDICT, TIMEHANDOFF_DOMAIN_NAME=name))
        done = self.hv2.run([HOOK, name, "migrate", "begin", "-"], check=False, input=(
            f"<domain type='kvm'><name>{name}</name><uuid>{DOMAIN}</uuid>"
            f"<metadata>{self.stamp(address)}</metadata></domain>"))
        found = wait_until("the verdict", lambda: self.hv2.journal(
            MESSAGE_ID=VERDICT, TIMEHANDOFF_DOMAIN_NAME=name)[before:], DEADLINE_S)
        fields = {field.removeprefix("TIMEHANDOFF_").lower(): value
                  for field, value in found[0].items()}
        self.assertEqual(done.returncode, 1 if fields["verdict"] == "block" else 0, done.stderr)
        return fields

    def in_time(self, run, is_late):
        """What run() says, asked again while the machine was too busy for any answer."""
        for _ in range(TRIES):
            result = run()
            if not is_late(result):
                break
        return result

    def judged(self, name, address, late=("source-unreachable", "gap-uncertain")):
        return self.in_time(lambda: self.hook(name, address),
                            lambda fields: fields["reason"] in late)

    def measure(self, *words):
        """What the command on hv2 finds, or None."""
        done = self.hv2.run(["timehandoff", "measure", "--json", *words], check=False)
        self.assertEqual(done.returncode, 0 if done.stdout else 1, done.stderr)
        return json.loads(done.stdout) if done.stdout else None

    def measured(self, *words):
        return self.in_time(lambda: self.measure(*words), lambda found: found is None)

    def assert_gap(self, fields, truth_s):
        """In a verdict, in what the command says, in what the watch publishes."""
        names = next(names for names in (("gap_ns", "gap_bound_ns"), ("offset_ns", "bound_ns"),
                                         ("offset-ns", "bound-ns")) if names[0] in fields)
        offset_ns, bound_ns = (int(fields[name]) for name in names)
        self.assertLessEqual(abs(offset_ns - truth_s * 1e9), bound_ns, fields)

    def peers(self, host):
        """What a host's watch has published, by the peer's address."""
        path = host.path("/run/timehandoff/peers/peers")
        text = path.read_text() if path.exists() else ""
        found = {}
        for section in text.split("\n[peer]\n")[1:]:
            fields = dict(line.split("=", 1) for line in section.split("\n[")[0].splitlines()
                          if "=" in line)
            found[fields["address"]] = fields
        return found

    def watch(self, *peers, config=""):
        """What hv2's watch says of these peers, once it has probed them all."""
        self.set_config(self.hv2, "[peers]\n" + "".join(f"peer = {peer}\n" for peer in peers)
                        + config)
        self.hv2.path("/run/timehandoff/peers/peers").unlink(missing_ok=True)
        self.start_peerd(self.hv2)
        found = wait_until("the peers", lambda: self.peers(self.hv2), DEADLINE_S,
                           [self.hv2.log("peerd")])
        self.hv2.stop_peerd()
        self.assertEqual(len(found), len(peers), found)
        return found


class Asking(Hostile):
    """An attacker between the hosts, at the asking end."""

    recorded = []

    def setUp(self):
        super().setUp()
        for host in (self.hv1, self.hv2):
            self.set_keys(host, KEY, OTHER_KEY)
        self.start_peerd(self.hv1)
        Asking.recorded = []
        self.hv1.set_shift(LIE_S)
        recorder = self.middle(lambda _, __, answer: (Asking.recorded.append(answer), answer)[1:])
        self.assert_gap(self.measured("--key", "7", recorder.address), LIE_S)
        self.hook("recorded", recorder.address)
        self.hv1.set_shift(0)

    @staticmethod
    def together(run, calls):
        """The results of these calls; some at the same time, as most of each is waiting."""
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            return [future.result() for future in [pool.submit(run, *call) for call in calls]]

    def each(self, way, look, attacks=ATTACKS):
        """What look(name, address) says under each attack."""
        ways = [(f"{way.__name__}-{attack.__name__}", self.middle(way(attack)).address)
                for attack in attacks]
        return dict(zip(attacks, self.together(look, ways)))

    def test_the_hook_finds_the_right_answer_among_wrong_ones(self):
        for attack, fields in self.each(beside, self.judged).items():
            with self.subTest(attack.__name__):
                self.assertEqual((fields["reason"], fields["stamp"], fields["authenticated"]),
                                 ("gap-ok", "used", "yes"))
                self.assert_gap(fields, 0)

    def test_the_hook_believes_nothing_else(self):
        for attack, fields in self.each(instead, self.hook).items():
            with self.subTest(attack.__name__):
                # Without the key it is asked once more; who is fooled then says so, and blocks.
                if attack in FOOL_WHO_HAS_NO_KEY - {kiss_of_death}:
                    self.assertIn((fields["verdict"], fields["reason"]), [
                        ("block", "unauthenticated"), ("block", "gap-over-block"),
                        ("warn", "source-unreachable")])
                else:
                    self.assertEqual((fields["verdict"], fields["reason"]),
                                     ("warn", "source-unreachable"))
                self.assertNotEqual(fields.get("authenticated"), "yes")

    def test_the_command_finds_the_right_answer_among_wrong_ones(self):
        for attack, found in self.each(
                beside, lambda _, address: self.measured("--key", "7", address)).items():
            with self.subTest(attack.__name__):
                self.assertTrue(found["authenticated"])
                self.assert_gap(found, 0)

    def test_without_a_key_only_who_sees_the_question_can_lie(self):
        self.hv2.path("/etc/timehandoff/keys").unlink()
        attacks = [attack for attack in ATTACKS if attack not in FOOL_WHO_HAS_NO_KEY]
        for attack, found in self.each(
                beside, lambda _, address: self.measured(address), attacks).items():
            with self.subTest(attack.__name__):
                self.assertFalse(found["authenticated"])
                self.assert_gap(found, 0)

    def test_the_watch_believes_nothing_else(self):
        ways = {(way, attack): self.middle(way(attack))
                for way in (beside, instead) for attack in ATTACKS}
        # All of them at once, through one process: that takes its time.
        found = self.watch(*(f"{m.address} key=7" for m in ways.values()),
                           config="[probe]\ntimeout = 1500ms\nquestions = 3\n")
        for (way, attack), between in ways.items():
            with self.subTest(way=way.__name__, attack=attack.__name__):
                fields = found[between.address]
                answered = "yes" if way is beside else "no"
                self.assertEqual(fields["answered"], answered)
                if way is beside:
                    self.assertEqual(fields["authenticated"], "yes")
                    self.assert_gap(fields, 0)
                elif attack not in FOOL_WHO_HAS_NO_KEY:
                    self.assertEqual(fields["answers-without-key"], "no")

    def test_who_has_no_key_is_sent_away_for_one_measurement_only(self):
        self.hv2.path("/etc/timehandoff/keys").unlink()
        angry = threading.Event()
        angry.set()
        between = self.middle(lambda m, question, answer: kiss_of_death(m, question, answer)
                              if angry.is_set() else [answer])
        self.assertIsNone(self.measure(between.address))
        asked = len(between.questions)
        angry.clear()
        self.assert_gap(self.measured(between.address), 0)
        # It went away: each way of asking ended with its first question or two.
        self.assertLess(asked, 8)

    def test_questions_tell_nothing_that_could_be_guessed_from(self):
        between = self.middle(lambda *_: ())
        self.together(lambda look: look(), 2 * [
            (lambda: self.hook("cookies", between.address),),
            (lambda: self.measure(between.address),)])
        self.watch(between.address)
        cookies = [question[40:48] for question, _ in between.questions]
        self.assertGreater(len(cookies), 60)
        self.assertEqual(len(set(cookies)), len(cookies))
        self.assertNotIn(bytes(8), cookies)
        # Each of 64 bits comes both ways, so none of them is the time or a counter.
        for bit in range(64):
            ones = sum(int.from_bytes(cookie, "big") >> bit & 1 for cookie in cookies)
            self.assertTrue(len(cookies) / 5 < ones < len(cookies) * 4 / 5, (bit, ones))
        self.assertEqual({question[4:40] for question, _ in between.questions}, {bytes(36)})
        # A fresh port for each measurement; whoever gets no answer makes two or three.
        self.assertGreaterEqual(len({asker for _, asker in between.questions}), 10)

    def test_delay(self):
        """On the way there, on the way back or on both: the truth stays inside the bound."""
        def held(there_s, back_s):
            def attack(between, question, _):
                time.sleep(there_s)
                answer = between.ask(question)
                time.sleep(back_s)
                return [answer] if answer else []
            return attack

        for truth_s, reasons in ((0, {"gap-uncertain"}), (0.3, {"gap-uncertain", "gap-over-warn"}),
                                 (2, {"gap-over-block"})):
            self.hv1.set_shift(truth_s)
            ways = [(f"{there_s}-{back_s}", self.middle(held(there_s, back_s)).address,
                     ("source-unreachable",))
                    for there_s, back_s in ((0.15, 0), (0, 0.15), (0.07, 0.07))]
            for (name, *_), fields in zip(ways, self.together(self.judged, ways)):
                with self.subTest(name, truth_s=truth_s):
                    self.assertIn(fields["reason"], reasons)
                    self.assert_gap(fields, truth_s)
        # What comes later than that is as if it had not come.
        for fields in self.together(self.hook, [
                ("late", self.middle(held(0.35, 0)).address),
                ("later", self.middle(held(0, 0.35)).address)]):
            self.assertEqual((fields["verdict"], fields["reason"]),
                             ("warn", "source-unreachable"))

    def test_a_way_that_ends_in_the_middle(self):
        """After two answers nothing comes any more: two are enough."""
        between = self.middle(lambda m, _, answer: [answer] if len(m.questions) <= 2 else [])
        fields = self.hook("cut", between.address)
        if fields["reason"] != "source-unreachable":  # on a busy machine both may be late
            self.assertIn(fields["reason"], ("gap-ok", "gap-uncertain"))
            self.assert_gap(fields, 0)

    def test_loss_is_no_wrong_key(self):
        """What is lost may be just the proven ones: who then blocks would block by chance."""
        def lossy(keeps):
            def attack(between, question, answer):
                alike = [q for q, _ in between.questions if len(q) == len(question)]
                return [answer] if answer and keeps(len(question) > 48, len(alike)) else []
            return attack

        questions = 8
        for keeps, reasons in (
                (lambda proven, n: not proven or n > questions, ("gap-ok",)),
                (lambda proven, n: not proven and n % 4 == 0, ("source-unreachable",)),
                (lambda proven, n: not proven, ("unauthenticated",))):
            with self.subTest(reasons):
                # Each time anew, as it counts.
                fields = self.in_time(
                    lambda k=keeps: self.hook("lossy", self.middle(lossy(k)).address),
                    lambda fields, r=reasons: fields["reason"] not in r)
                self.assertIn(fields["reason"], reasons)

    def test_an_asker_is_not_its_own_source(self):
        """hv1 is off, and hv2's questions to it go to hv2 itself, which has the key."""
        self.hv1.set_shift(LIE_S)
        between = self.middle(lambda _, __, answer: [answer] if answer else [], self.hv2)
        found = self.watch(f"{between.address} key=7")[between.address]
        self.assertGreater(len(between.questions), 0)
        self.assertEqual(found["answered"], "no", found)
        self.start_peerd(self.hv2)
        fields = self.hook("self", between.address)
        self.assertNotEqual(fields["verdict"], "allow", fields)

    def test_who_holds_another_peers_key_is_not_this_one(self):
        """hv3 has one of hv2's keys, and is in the way to hv1, which has the other."""
        self.hv1.stop_peerd()
        self.set_keys(self.hv1, KEY)
        self.set_keys(self.hv3, OTHER_KEY)
        for host in (self.hv1, self.hv3):
            self.start_peerd(host)
        self.hv3.set_shift(LIE_S)
        self.addCleanup(self.hv3.set_shift, 0)
        found = self.watch(f"{self.hv1.address} key=7", f"{self.hv3.address} key=9")
        self.assertEqual({name: fields["authenticated"] for name, fields in found.items()},
                         {f"{self.hv1.address}:{PORT}": "yes", f"{self.hv3.address}:{PORT}": "yes"})

        def under_his_own(_, question, __):
            return [lie(question) + OTHER_KEY.mac(lie(question))]

        for attack in (instead(under_his_own), lambda m, _, answer: [answer] if answer else []):
            between = self.middle(attack, self.hv3)
            found = self.watch(f"{between.address} key=7")[between.address]
            self.assertEqual(found["answered"], "no", found)


class Answering(Hostile):
    """An attacker who sends a responder what he likes."""

    def sniff(self, host, *packets):
        """What passed the host's port after these were sent to it, themselves included."""
        sniffer = Sniffer(host)
        try:
            send_raw(host.address, *packets)
            return sniffer.until_quiet()
        finally:
            sniffer.close()

    def publish_servers(self, *names, domains=()):
        """What hv1 says of itself has these NTP servers in it, and these domains, as well."""
        publish(self.hv1, domains=[(DOMAIN, "running", STAMP_KEY), *domains],
                **{"ntp-known": "yes"})
        self.addCleanup(publish, self.hv1, domains=[(DOMAIN, "running", STAMP_KEY)])
        text = self.hv1.path("/run/timehandoff/host").read_text()
        lines = "".join(f"[ntp]\nkind=server\nname={name}\nwhere=x\n" for name in names)
        hostkit.write_state(self.hv1, "host", text.replace("[end]", lines + "[end]"))

    def test_no_answer_leads_to_another(self):
        """A question in the name of another responder, so that the two would go on for ever."""
        for host in (self.hv1, self.hv2):
            self.start_peerd(host)
        source, to = self.hv2.address, self.hv1.address
        there = (source, PORT, to, PORT, 48)
        back = (to, PORT, source, PORT, 48)
        self.assertEqual(self.sniff(self.hv1, datagram(source, to, PORT, PORT, header())),
                         [there, back])
        modes = (0, 1, 2, 4, 5, 6, 7)
        self.assertEqual(self.sniff(self.hv1, *(
            datagram(source, to, PORT, PORT, header(mode=mode)) for mode in modes)),
            [there] * len(modes))

    def test_nobody_asks_from_port_zero(self):
        self.set_config(self.hv1, "[peers]\ninterval = 1s\n")
        self.start_peerd(self.hv1)
        to = self.hv1.address
        self.assertEqual(self.sniff(self.hv1, datagram(HUB, to, 0, PORT, header())),
                         [(HUB, 0, to, PORT, 48)])
        # Nor was it left to the kernel to refuse it.
        published = self.hv1.path("/run/timehandoff/peers/peers")
        wait_until("the count", lambda: "\nnot-a-question=1\n" in published.read_text(), DEADLINE_S)

    def test_many_are_not_asked_at_once(self):
        """One question to all hosts, in a victim's name, would bring him an answer from each."""
        for host in (self.hv1, self.hv2):
            self.start_peerd(host)
        for address in ("10.77.0.255", "255.255.255.255", "224.0.0.1", "ff02::1%hub"):
            with self.subTest(address):
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                with socket.socket(family, socket.SOCK_DGRAM) as sock:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"hub\0")
                    sock.settimeout(0.3)
                    sock.sendto(header(), (address, PORT))
                    with self.assertRaises(TimeoutError):
                        sock.recv(2048)
        self.assertIsNotNone(ask(header(), self.hv1.address))

    def test_nothing_is_amplified(self):
        """Whatever is asked, in the name of whomever: one answer at most, and not a longer one."""
        self.publish_servers(*(f"ntp{number}.example.net" for number in range(40)))
        self.set_keys(self.hv1, KEY)
        self.start_peerd(self.hv1)
        lists = [struct.pack(">HHBBH", hostkit.IDENTITY_TYPE, size, 1, 2, 0) + bytes(size - 8)
                 for size in (28, 64, 512, 1024)]
        fields = [b"", identity(), identity(DOMAIN), *lists, *(identity() + one for one in lists),
                  hostkit.extension(0x1234, 28), hostkit.extension(0x104, 1024)]
        questions = [header() + field for field in fields]
        questions += [question + KEY.mac(question) for question in questions]
        to = self.hv1.address
        # Told apart by the ports that they come from.
        passed = self.sniff(self.hv1, *(datagram(HUB, to, 4000 + number, PORT, question)
                                        for number, question in enumerate(questions)))
        answers = [p for p in passed if p[0] == to]
        self.assertEqual(len(passed), len(questions) + len(answers))
        self.assertGreater(len(answers), len(fields))
        self.assertEqual(len({port for _, _, _, port, _ in answers}), len(answers))
        for answer in answers:
            self.assertEqual(answer[:3], (to, PORT, HUB))
            self.assertLessEqual(answer[4], len(questions[answer[3] - 4000]))

    def test_a_guest_does_not_learn_where_a_domain_runs(self):
        """Not by asking, with or without a key of its own, nor in the name of a peer."""
        question = header() + identity(DOMAIN)
        listing = header() + struct.pack(">HHBBH", hostkit.IDENTITY_TYPE, 1024, 1, 2, 0) \
            + bytes(1016)
        own = Key(0x9c000002)
        self.publish_servers("ntp.secret.example", domains=[(uuid.UUID(int=9), "running", own)])
        for keys in ((), (KEY,)):
            self.set_keys(self.hv1, *keys)
            self.set_config(self.hv1, f"[peers]\npeer = {self.hv2.address}\n")
            self.start_peerd(self.hv1)
            for data in (question, listing, question + own.mac(question),
                         listing + own.mac(listing)):
                answer = ask(data, self.hv1.address)
                self.assertIsNone(answer.identity)
                self.assertIn(len(answer.data), (48, 68))
                self.assertNotIn(b"secret", answer.data)
            if keys:
                self.assertIn(b"secret", ask(listing + KEY.mac(listing), self.hv1.address).data)
            for key in (Key(STAMP_KEY.number, seed=7), Key(KEY.number, seed=7), Key(8)):
                self.assertIsNone(ask(question + key.mac(question), self.hv1.address))
            # In a peer's name: where there are no keys it goes to the peer, else to nobody.
            passed = self.sniff(self.hv1, datagram(self.hv2.address, self.hv1.address, 4000, PORT,
                                                   question))
            self.assertEqual([p[2:] for p in passed if p[0] == self.hv1.address and p[3] != PORT],
                             [(self.hv2.address, 4000, 48 if keys else 112)])
            self.hv1.stop_peerd()

    def test_a_flood_in_the_names_of_hosts_that_are_not_there(self):
        """Answers to them wait in the kernel for an address that nobody has; others must not."""
        for host in (self.hv1, self.hv2):
            self.set_keys(host, KEY)
        logged = len(self.hv1.journal())
        self.start_peerd(self.hv1)
        wait_until("its word", lambda: len(self.hv1.journal()) > logged, DEADLINE_S)
        end = threading.Event()

        def flood():
            number = 0
            while not end.is_set():
                packets = []
                for _ in range(16):
                    number += 1
                    question = header() + (KEY.mac(header()) if number % 2 else b"")
                    packets.append(datagram(f"10.77.0.{100 + number % 100}", self.hv1.address,
                                            4000, PORT, question))
                send_raw(self.hv1.address, *packets)
                time.sleep(0.005)

        thread = threading.Thread(target=flood)
        thread.start()
        try:
            time.sleep(1)
            for _ in range(8):
                found = self.measured("--key", "7", self.hv1.address)
                self.assertIsNotNone(found)
                self.assertTrue(found["authenticated"])
                fields = self.judged("flooded", f"{self.hv1.address}:{PORT}")
                self.assertEqual((fields["reason"], fields["authenticated"]), ("gap-ok", "yes"))
        finally:
            end.set()
            thread.join()
        # Who sends rubbish fills no log.
        self.assertEqual(self.hv1.journal()[logged + 1:], [])

    def test_there_is_nothing_else_to_talk_to(self):
        """One UDP port a family, and no program of ours listens for connections."""
        self.start_peerd(self.hv1)
        self.hv1.start_daemon()
        self.addCleanup(self.hv1.stop_daemon)
        listening = {}
        for table in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6", "packet"):
            for line in self.hv1.run(["cat", f"/proc/self/net/{table}"]).stdout.splitlines()[1:]:
                words = line.split()
                inode, place = (words[8], "") if table == "packet" else (words[9], words[1])
                listening[f"socket:[{inode}]"] = (table, place[-4:])
        found = {}
        for name in ("peerd", "daemon"):
            pid = (self.hv1.base / "programs" / name).read_text()
            links = [os.readlink(path) for path in pathlib.Path(f"/proc/{pid}/fd").iterdir()]
            found[name] = {listening[link] for link in links if link in listening}
        self.assertEqual(found, {"peerd": {("udp", f"{PORT:04X}"), ("udp6", f"{PORT:04X}")},
                                 "daemon": set()})


class Keys(Hostile):
    """Keys, as somebody has them who has a fleet."""

    # What chrony's manual shows, and what people write.
    FILE = ("# keys of the lab\n; more words\n! and more\n% and more\n\n"
            f"1 AES128 HEX:{Key(1).secret.hex().upper()}\n"
            "20 AES128 ASCII:sixteen-letters!\n"
            f"  300\tAES256   HEX:{Key(300, 'AES256').secret.hex()}  \n"
            "4000 AES256 thirty-two-letters-are-this-many\n")
    IDS = (1, 20, 300, 4000)

    def write(self, host, path, mode=0o640):
        host.path(path).write_text(self.FILE)
        os.chown(host.path(path), 0, hostkit.group_of(host))
        host.path(path).chmod(mode)
        self.addCleanup(host.path(path).unlink, missing_ok=True)

    def test_one_file_for_chronyd_and_for_us(self):
        self.write(self.hv1, "/etc/timehandoff/keys")
        self.write(self.hv2, "/etc/timehandoff/keys")
        for host in (self.hv1, self.hv2):
            self.write(host, "/run/chrony.keys", 0o600)
        self.start_peerd(self.hv1)
        self.hv1.set_shift(2)
        for number in self.IDS:
            done = self.hv2.run(
                ["/usr/sbin/chronyd", "-x", "-Q", "-t", "5", "-d", "-u", "root",
                 "keyfile /run/chrony.keys", f"server {self.hv1.address} port {PORT} iburst "
                 f"maxsamples 1 key {number}"], check=False)
            found = re.search(r"System clock wrong by (-?[\d.]+) seconds", done.stderr)
            self.assertIsNotNone(found, done.stderr)
            self.assertAlmostEqual(float(found[1]), 2, delta=0.05)
        self.hv1.set_shift(0)
        self.hv1.path("/run/server.conf").write_text(
            "allow\nport 123\ncmdport 0\nbindcmdaddress /\npidfile /run/server.pid\n"
            "local stratum 3\nkeyfile /run/chrony.keys\n")
        self.hv1.start("server", ["/usr/sbin/chronyd", "-x", "-d", "-u", "root", "-f",
                                  "/run/server.conf"],
                       ready=lambda: ask(header(), self.hv1.address, 123, 0.05))
        self.addCleanup(self.hv1.stop, "server")
        for number in self.IDS:
            found = self.measured("--key", str(number), f"{self.hv1.address}:123")
            self.assertEqual((found["clock"], found["authenticated"]), ("ntp", True))
            self.assert_gap(found, 0)

    def test_a_key_file_that_others_may_read(self):
        path = self.set_keys(self.hv1, KEY, mode=0o644)
        done = self.hv1.run(["/usr/sbin/timehandoff-peerd"], check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("/etc/timehandoff/keys: others can read or change it", done.stderr)
        path.chmod(0o640)
        self.start_peerd(self.hv1)
        # One that was good and is no longer: it goes on with what it has.
        path.chmod(0o644)
        os.kill(int((self.hv1.base / "programs/peerd").read_text()), signal.SIGHUP)
        wait_until("the complaint", lambda: any("others can read" in r["MESSAGE"]
                                                for r in self.hv1.journal()), DEADLINE_S)
        question = header()
        self.assertEqual(len(ask(question + KEY.mac(question), self.hv1.address,
                                 timeout_s=5).data), 68)

    def test_macs_are_compared_in_constant_time(self):
        """By the one function that does; nothing that stops at the first difference is called."""
        symbols = self.hv1.run(["readelf", "--dyn-syms", "--wide",
                                "/usr/sbin/timehandoff-peerd"]).stdout
        self.assertRegex(symbols, r"UND nettle_memeql_sec\b")
        source = pathlib.Path(__file__).parents[2] / "plugin/clock"
        for name in ("key.c", "packet.c", "answer.c"):
            self.assertNotRegex((source / name).read_text(), r"\b(memcmp|bcmp|strn?cmp)\([^)]*mac")

    def test_rolling_keys_out(self):
        """Host by host, with a migration each way at each step, and require-key last of all."""
        hosts = (self.hv1, self.hv3)

        def check(*proven):
            """Both ways between the two, stamps are proven; peers only where both have the key."""
            for host in hosts:
                publish(host, domains=[(DOMAIN, "running", STAMP_KEY)])
                if host.is_running("peerd"):
                    host.stop_peerd()
                host.start_peerd()
            for source, to in (hosts, hosts[::-1]):
                xml = (f"<domain type='kvm'><name>web1</name><uuid>{DOMAIN}</uuid><metadata>"
                       + self.stamp(f"{source.address}:{PORT}").replace(self.hv1.uuid, source.uuid)
                       + "</metadata></domain>")
                found = self.in_time(
                    lambda: json.loads(to.run(["timehandoff", "dry-run", "--json", "-"], input=xml,
                                              check=False).stdout),
                    lambda found: found["verdict"]["reason"] == "source-unreachable")
                self.assertEqual((found["verdict"]["reason"], found["source"]["stamp"]),
                                 ("gap-ok", "used"))
                done = to.run(["timehandoff", "measure", "--json", source.address], check=False)
                self.assertEqual((json.loads(done.stdout)["authenticated"]
                                  if done.stdout else None), proven[hosts.index(to)])

        self.addCleanup(publish, self.hv3)
        self.addCleanup(publish, self.hv1, domains=[(DOMAIN, "running", STAMP_KEY)])
        for host in hosts:
            self.addCleanup(lambda h=host: h.is_running("peerd") and h.stop_peerd())
        check(False, False)
        self.set_keys(self.hv1, KEY)
        check(False, False)
        self.set_keys(self.hv3, KEY)
        check(True, True)
        self.set_config(self.hv1, "[responder]\nrequire-key = yes\n")
        check(True, True)
        self.set_config(self.hv3, "[responder]\nrequire-key = yes\n")
        check(True, True)
        # One that was forgotten: its stamps are as good as ever, and it is told nothing else.
        self.hv3.path("/etc/timehandoff/keys").unlink()
        self.set_config(self.hv3, "")
        check(False, None)


if __name__ == "__main__":
    hostkit.enter()
    unittest.main()
