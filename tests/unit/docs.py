# SPDX-License-Identifier: LGPL-2.1-or-later
"""The documents say what the code does.

Every setting is in timehandoff.conf(5) and in the example file with the default that the code has;
every fixed word, command, option, journal field and message id is explained. The operator's manual
says what to do about every verdict, outcome and alert, and names no command, option, setting or
message that is not there; the page about security names no test that is not there. The truth is
taken out of the sources. To be sure that a gap would be noticed, each documented thing is then
taken out of the documents in turn, and the checks must complain.
"""

import functools
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
COMMAND_PAGE = "docs/man/timehandoff.1.scd"
CONFIG_PAGE = "docs/man/timehandoff.conf.5.scd"
DAEMON_PAGE = "docs/man/timehandoffd.8.scd"
PEERD_PAGE = "docs/man/timehandoff-peerd.8.scd"
GUARD_PAGE = "docs/man/timehandoff-guard.8.scd"
PAGES = [COMMAND_PAGE, CONFIG_PAGE, DAEMON_PAGE, PEERD_PAGE, GUARD_PAGE]
EXAMPLE = "docs/timehandoff.conf.example"
OPERATIONS, README = "docs/operations.md", "README.md"
SECURITY = "docs/security.md"
BENCHMARKS = "docs/benchmarks/README.md"
CATALOG = "docs/timehandoff.catalog"
UNITS_NS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9,
            "d": 86400 * 10**9}

sources = {str(path.relative_to(TOP)): path.read_text()
           for folder in ("plugin", "include", "hooks")
           for path in sorted((TOP / folder).rglob("*.[ch]"))}


# ---- the truth: what the sources say ----

def number_of(expression, _macros={}):
    """The value of a C expression of numbers and of macros that stand for such."""
    if not _macros:
        for name in ("include/timehandoff/base.h", "include/timehandoff/packet.h",
                     "plugin/config/config.c", "plugin/config/config_key.c"):
            _macros.update(re.findall(r"^#define (\w+) (.+)$", sources[name], re.M))
    expression = re.sub(r"U?INT(?:32|64)_C\((\w+)\)", r"\1", expression)
    while re.search(r"[A-Z]\w*", expression):
        expression = re.sub(r"\b[A-Z]\w*", lambda m: f"({_macros[m[0]]})", expression)
        expression = re.sub(r"U?INT(?:32|64)_C\((\w+)\)", r"\1", expression)
    return eval(expression, {"__builtins__": {}})


def initial_values():
    """Field of struct th_config -> C expression of its default."""
    body = sources["plugin/config/config.c"].split("new_with_defaults")[1].split("};")[0]
    values = dict(re.findall(r"\.(\w+) = (\{[^}]*\}|[^,{]+),", body))
    body = sources["plugin/policy/verdict.c"].split("th_verdict_policy_init")[1].split("};")[0]
    values.update(("verdict." + field, value)
                  for field, value in re.findall(r"\.(\w+) = ([^,]+),", body))
    for field, value in list(values.items()):
        if value.startswith("{"):
            values.update((f"{field}[{i}]", part) for i, part in enumerate(value[1:-1].split(",")))
    return values


def networks():
    body = sources["plugin/config/config_list.c"].split("networks[] = {")[1].split("}")[0]
    return re.findall(r'"([^"]+)"', body)


def default_of(reader, value):
    """What the documents have to say: a number of ns, a word, a list, or None for no default."""
    kind = reader.removeprefix("th_config_").removeprefix("value_")
    if kind == "list_allow":
        return networks()
    if kind in ("list_announce", "list_peer", "list_ntp_server", "list_ntp_pool"):
        return None
    if kind in ("duration", "recheck", "max_step"):
        return number_of(value)
    if kind == "unsigned":
        return str(number_of(value))
    if kind == "bool":
        return "yes" if value == "true" else "no"
    if kind == "report_only":
        return "report" if value == "true" else "enforce"
    if kind in ("action", "handoff"):
        return value.rpartition("_")[2].lower()
    if kind in ("string", "path"):
        return re.search(r'"(.*)"', value)[1] if value else None
    raise LookupError(f"no idea how {reader} reads a default: teach tests/unit/docs.py")


@functools.cache
def settings():
    """(section, key) -> (default, range in ns or None), from the table of settings."""
    table = sources["plugin/config/config_key.c"].split("keys[] = {")[1].split("};")[0]
    rows = re.findall(r'\{"(\w+)",\s*"([\w-]+)",\s*(\w+),\s*AT\(([^)]+)\),\s*([^,]+),\s*([^,]+),',
                      table)
    values = initial_values()
    assert len(rows) == table.count('{"') > 0, "the table of settings has another form now"
    known = {}
    for section, key, reader, field, low, high in rows:
        limits = None
        if re.search("duration|recheck|max_step", reader):
            limits = (number_of(low), number_of(high))
        known[section, key] = (default_of(reader, values.get(field)), limits)
    return known


def domain_keys():
    body = sources["plugin/config/config_domain.c"].split("th_config_domain_entry")[1]
    return re.findall(r'strcmp\(key, "([\w-]+)"\)', body)


def words(name, prefix):
    """Enumerator -> word, from a name function's array or switch."""
    found = dict(re.findall(r'\[(TH_\w+)\] = "([\w-]+)"', sources[name]) +
                 re.findall(r'case (TH_\w+): return "([\w-]+)"', sources[name]))
    found = {key: word for key, word in found.items() if key.startswith(prefix)}
    assert found, f"no words {prefix}* in {name}"
    return found


def source_words(function):
    body = sources["plugin/fleet/source.c"].split(function + "(")[1].split("};")[0]
    return re.findall(r'"([\w-]+)"', body)


def triggers():
    """Those that some program can give."""
    names = words("plugin/policy/decision_name.c", "TH_TRIGGER_")
    programs = "".join(text for name, text in sources.items()
                       if name.startswith(("plugin/daemon/", "plugin/cli/")))
    used = set(re.findall(r"(?:return|[^=!<>]=)\s+(TH_TRIGGER_\w+)", programs))
    return [names[trigger] for trigger in sorted(used)]


def lint_rules():
    """Ids of findings, from the table of rules."""
    table = sources["plugin/lint/rules.c"].split("th_lint_rules[] = {")[1]
    return re.findall(r'\{"([a-z0-9-]+)", TH_LINT_', table)


@functools.cache
def word_lists():
    """(page, heading of the chapter where they are explained, words)."""
    decision, outcome = "plugin/policy/decision_name.c", "plugin/guest/handoff_outcome.c"
    reasons = words("plugin/policy/verdict_name.c", "TH_REASON_")
    return [
        (COMMAND_PAGE, "## Reasons", list(reasons.values())),
        (COMMAND_PAGE, "## Outcomes", list(words(outcome, "TH_HANDOFF_").values())),
        (COMMAND_PAGE, "## Decisions", list(words(decision, "TH_DECIDE_").values())),
        (COMMAND_PAGE, "## Findings",
         list(words("plugin/fleet/ntp_check.c", "TH_NTP_").values())),
        (COMMAND_PAGE, "## How the source was found", source_words("th_source_how_name")),
        (COMMAND_PAGE, "## The origin stamp", source_words("th_stamp_state_name")),
        (COMMAND_PAGE, "# WHAT LINT FINDS", lint_rules()),
        (DAEMON_PAGE, "## Triggers", triggers()),
        (DAEMON_PAGE, "## Alerts", list(words("plugin/fleet/alert_judge.c", "TH_ALERT_").values())),
    ]


@functools.cache
def usages():
    """Name of a program or command -> its usage text."""
    found = {}
    for name, text in sources.items():
        match = re.search(r"char usage\[\] =\s*((?:\"(?:[^\"\\]|\\.)*\"\s*)+);", text)
        if match:
            usage = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', match[1])).replace("\\n", "\n")
            program, word = re.match(r"Usage: (\S+) (\S+)", usage).groups()
            found[word if program == "timehandoff" else program] = usage
    return found


def option_lists():
    """(page, heading, options)."""
    chapters = {"timehandoffd": (DAEMON_PAGE, "# OPTIONS"),
                "timehandoff-peerd": (PEERD_PAGE, "# OPTIONS"),
                "COMMAND": (COMMAND_PAGE, "# SYNOPSIS")}
    for name, usage in usages().items():
        page, heading = chapters.get(name, (COMMAND_PAGE, "## timehandoff " + name))
        # The command line itself, and the list of options; not words quoted in the explanation.
        spelt = re.findall(r"^(?:Usage:|  +)(.*)$", usage, re.M)
        yield page, heading, sorted(set(re.findall(r"--[a-z-]+", "\n".join(spelt))))
    for text in sources.values():
        command = re.search(r'th_usage_error\("([\w-]+)"', text)
        known = re.findall(r'\{"([\w-]+)", (?:required|no)_argument', text)
        if command and known:
            yield (COMMAND_PAGE, "## timehandoff " + command[1],
                   ["--" + option for option in known if option != "help"])


@functools.cache
def commands():
    main = sources["plugin/cli/main.c"]
    listed = re.findall(r"^\s*\"  ([\w-]+)  +\S", main, re.M)
    return sorted(set(re.findall(r'\{"([\w-]+)", th_command_', main)) | set(listed))


def field_lists():
    for name, page in (("plugin/report/check_journal.c", COMMAND_PAGE),
                       ("plugin/report/handoff.c", DAEMON_PAGE),
                       ("plugin/report/alert.c", DAEMON_PAGE), ("hooks/guard.c", GUARD_PAGE)):
        yield page, sorted(set(re.findall(r"\bTIMEHANDOFF_[A-Z_]+", sources[name])))


@functools.cache
def source_names():
    return set(re.findall(r"\w+", "\n".join(sources.values())))


@functools.cache
def message_ids():
    return sorted(set(re.findall(r'"([0-9a-f]{32})"', "\n".join(sources.values()))))


# ---- the documents ----

@functools.lru_cache(maxsize=256)
def chapter(text, heading):
    """From a heading to the next one of its rank or above."""
    rank = heading.split()[0]
    pattern = rf"^{re.escape(heading)}$\n(.*?)(?=^#{{1,{len(rank)}}} |\Z)"
    match = re.search(pattern, text, re.M | re.S)
    return match[1] if match else ""


def entry(text, key):
    """What is written below a setting's line, as one line; None if it is not there."""
    match = re.search(rf"^(?:\*[\w-]+\* = [^\n]*, )?\*{key}\* = [^\n]*\n((?:\t.*\n?)+)", text, re.M)
    return " ".join(match[1].split()) if match else None


def example_lines(text):
    """(section, key) -> [(value, whether it is marked as an example)]"""
    found, section, marked = {}, None, False
    for line in text.splitlines():
        header = re.fullmatch(r"#?\[(\w+)[^]]*\]", line)
        setting = re.fullmatch(r"#?([a-z-]+) = (.+)", line)
        if header:
            section = header[1]
        elif setting:
            found.setdefault((section, setting[1]), []).append((setting[2], marked))
        marked = line == "# (example)"
    return found


def duration_ns(text):
    match = re.fullmatch(r"(\d+)(ns|us|ms|s|min|h|d)", text)
    return int(match[1]) * UNITS_NS[match[2]] if match else None


def same(text, default):
    return duration_ns(text) == default if isinstance(default, int) else text == default


# ---- the checks ----

def page_setting_faults(page, section, key, default, limits):
    where = f"{CONFIG_PAGE}: [{section}] {key}"
    text = entry(chapter(page, f"# [{section}]"), key)
    said = re.search(r"Default: (.*)\.$", text or "")
    if not said:
        yield f"{where}: not there, or without its default"
        return
    if isinstance(default, list):
        right = said[1].startswith(", ".join(default) + ",")
    elif default is None:
        right = said[1] == "none" or (key == "announce" and said[1].startswith("all addresses"))
    else:
        right = same(said[1], default)
    if not right:
        yield f"{where}: the default is {default}, not {said[1]}"
    stated = re.search(r"(?:^| )(\w+) to (\w+)[.,]", text)
    if limits and stated and tuple(map(duration_ns, stated.groups())) != limits:
        yield f"{where}: the range is {limits} ns, not {stated[0]}"


def example_setting_faults(lines, section, key, default):
    where = f"{EXAMPLE}: [{section}] {key}"
    values = lines.get((section, key), [])
    if not values:
        yield f"{where}: not there"
    elif default is None:
        if not all(marked for _, marked in values):
            yield f"{where}: has no default, so it has to be marked as an example"
    elif isinstance(default, list):
        if [value for value, _ in values] != default:
            yield f"{where}: the default is {default}"
    elif len(values) != 1 or not same(values[0][0], default):
        yield f"{where}: the default is {default}"


def setting_faults(read):
    page, lines, known = read(CONFIG_PAGE), example_lines(read(EXAMPLE)), settings()
    for (section, key), (default, limits) in known.items():
        yield from page_setting_faults(page, section, key, default, limits)
        yield from example_setting_faults(lines, section, key, default)
    for key in domain_keys():
        if entry(chapter(page, "# [domain PATTERN]"), key) is None:
            yield f"{CONFIG_PAGE}: [domain] {key}: not there"
        yield from example_setting_faults(lines, "domain", key, None)
    for section, key in lines:
        if (section, key) not in known and not (section == "domain" and key in domain_keys()):
            yield f"{EXAMPLE}: [{section}] {key}: no such setting"


def is_explained(text, word):
    return re.search(rf"^(?:\|[ \[] )?\*{re.escape(word)}\*$", text, re.M)


def word_faults(read):
    for page, heading, listed in word_lists():
        for word in listed:
            if not is_explained(chapter(read(page), heading), word):
                yield f"{page}: {heading}: {word} is not explained"


def usage_faults(read):
    for command in commands():
        if not chapter(read(COMMAND_PAGE), "## timehandoff " + command).strip():
            yield f"{COMMAND_PAGE}: no chapter about {command}"
        if f"*timehandoff {command}*" not in chapter(read(COMMAND_PAGE), "# SYNOPSIS"):
            yield f"{COMMAND_PAGE}: SYNOPSIS lacks {command}"
    for page, heading, options in option_lists():
        for option in options:
            if not re.search(rf"{option}(?![\w-])", chapter(read(page), heading)):
                yield f"{page}: {heading}: {option} is not explained"


def journal_faults(read):
    catalog = re.findall(r"^-- (\w+)$", read(CATALOG), re.M)
    everything = "\n".join(read(page) for page in PAGES)
    for message_id in message_ids():
        if message_id not in catalog:
            yield f"{CATALOG}: {message_id} is not there"
        if message_id not in everything:
            yield f"docs/man: message id {message_id} is not there"
    for message_id in catalog:
        if message_id not in message_ids():
            yield f"{CATALOG}: nothing sends {message_id}"
    for page, fields in field_lists():
        for field in fields:
            if not re.search(rf"\b{field}\b", chapter(read(page), "# JOURNAL")):
                yield f"{page}: journal field {field} is not there"
    for field in re.findall(r"@(\w+)@", read(CATALOG)):
        if field not in source_names():
            yield f"{CATALOG}: no record has the field {field}"


def code_in(text):
    """What is marked as code: blocks, and pieces within a line."""
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```$", text, re.M | re.S)
    return "\n".join(blocks + re.findall(r"`([^`\n]+)`", text))


def first_column(text):
    """Marked words in the first column of the tables."""
    cells = re.findall(r"^\|([^|\n]*)\|", text, re.M)
    return re.findall(r"`([^`]+)`", "\n".join(cells))


def manual_lists():
    """(heading in the operator's manual, the words that its tables explain)."""
    explained = {heading: listed for _, heading, listed in word_lists()}
    return [("## Verdicts", explained["## Reasons"]), ("## Alerts", explained["## Alerts"]),
            ("## Handoffs", explained["## Outcomes"] + [
                # The others come with no record that somebody has to look at.
                word for word in explained["## Decisions"]
                if word not in ("step", "nothing", "wait", "off")])]


@functools.cache
def spoken():
    """All strings of the sources, those in pieces put together."""
    return re.sub(r'"\s*"', "", "\n".join(sources.values()))


def is_command(words):
    """Whether a command line is one that the usage knows, with its options."""
    known = usages().get(words[0])
    if words[0] not in commands() or not known:
        return False
    actions = re.findall(rf"timehandoff {words[0]} ([a-z][\w-]*)", known)
    if actions and words[1:] and words[1] not in actions:
        return False
    return all(re.search(rf"(?<![\w-]){word}(?![\w-])", known)
               for word in words[1:] if re.fullmatch(r"--?[A-Za-z][a-z-]*", word))


def manual_faults(read):
    manual = read(OPERATIONS)
    for heading, listed in manual_lists():
        there = first_column(chapter(manual, heading))
        for word in set(listed) ^ set(there):
            yield f"{OPERATIONS}: {heading}: {word} is " + ("no word of ours" if word in there
                                                           else "not explained")
    for message in first_column(chapter(manual, "## Other messages")):
        if message not in spoken():
            yield f"{OPERATIONS}: no program says '{message}'"
    for page in (OPERATIONS, README):
        code = code_in(read(page))
        for line in re.findall(r"(?<![\w/:.-])timehandoff ([a-z][^|;,'()<>\n]*)", code):
            if not is_command(line.split()):
                yield f"{page}: there is no 'timehandoff {line}'"
        for section, key in re.findall(r"\[(\w+)\] ([a-z][\w-]*)", code):
            if (section, key) not in settings():
                yield f"{page}: there is no setting [{section}] {key}"


def named_tests(read):
    """(file, test) of each that is named as a proof, as in `test_file.test`."""
    return sorted(set(re.findall(r"`(test_\w+)\.(?!py`|c`)(\w+)`", read(SECURITY))))


def proof_faults(read):
    for name, test in named_tests(read):
        texts = [path.read_text() for path in (TOP / "tests").glob(f"*/{name}.*")]
        if not any(re.search(rf"^ *(?:def|class|static void) {test}\b", text, re.M)
                   for text in texts):
            yield f"{SECURITY}: there is no test {name}.{test}"


def figures_in(text):
    """Numbers with their units, as the page of benchmarks writes them."""
    return re.findall(r"\d[\d,.]*(?:×| (?:ms|µs|s|MB|%)\b)", text)


def figure_faults(read):
    """The README's figures are those of the last run that was kept."""
    there = read(BENCHMARKS)
    for figure in figures_in(chapter(read(README), "## Figures")):
        if figure not in there:
            yield f"{README}: {figure} is not in {BENCHMARKS}"


def faults(read):
    for check in (setting_faults, word_faults, usage_faults, journal_faults, manual_faults,
                  proof_faults, figure_faults):
        yield from check(read)


# ---- whether the checks would notice ----

def without(text, heading, old, new):
    """The text with something replaced in one of its chapters."""
    part = chapter(text, heading)
    changed = re.sub(old, new, part, flags=re.M)
    return text.replace(part, changed, 1) if part and part != changed else text


def mutations(read):
    """(file, its text with one thing missing or wrong, what that is)"""
    page, example, catalog = read(CONFIG_PAGE), read(EXAMPLE), read(CATALOG)
    for section, key in settings():
        heading = f"# [{section}]"
        yield (CONFIG_PAGE, without(page, heading, rf"^\*{key}\* = ", "*other* = "),
               f"[{section}] {key}")
        yield (CONFIG_PAGE, without(page, heading, rf"(^\*{key}\* = .*\n(?:\t.*\n)*?.*Default:)",
                                    r"\1 9"), f"the default of [{section}] {key}")
        yield (EXAMPLE, re.sub(rf"(?ms)(^\[{section}\]$.*?)^#{key} = ", r"\1#other = ", example,
                               count=1), f"[{section}] {key} in the example")
    for key in domain_keys():
        yield (CONFIG_PAGE, without(page, "# [domain PATTERN]", rf"\*{key}\* = ", "*other* = "),
               f"[domain] {key}")
    for name, heading, listed in word_lists():
        for word in listed:
            yield (name, without(read(name), heading, rf"\*{word}\*$", "*other*"),
                   f"{word} in {heading}")
    for name, heading, options in option_lists():
        for option in options:
            yield (name, without(read(name), heading, rf"{option}(?![\w-])", "--other"),
                   f"{option} in {heading}")
    for command in commands():
        yield (COMMAND_PAGE, without(read(COMMAND_PAGE), "# SYNOPSIS", rf"timehandoff {command}\*",
                                     "other*"), f"{command} in the synopsis")
        yield (COMMAND_PAGE, read(COMMAND_PAGE).replace(f"## timehandoff {command}\n", "## x\n"),
               f"the chapter of {command}")
    for message_id in message_ids():
        yield CATALOG, catalog.replace(f"-- {message_id}", "-- " + "0" * 32), message_id
    manual = read(OPERATIONS)
    for heading, listed in manual_lists():
        for word in listed:
            yield (OPERATIONS, without(manual, heading, rf"^(\|[^|]*)`{word}`", r"\1`other`"),
                   f"{word} in {heading} of the manual")
    for message in first_column(chapter(manual, "## Other messages")):
        yield OPERATIONS, manual.replace(message, "other words"), f"the message '{message}'"
    for page in (OPERATIONS, README):
        for old, new in (("timehandoff override --for", "timehandoff override --during"),
                         ("timehandoff measure", "timehandoff gauge"),
                         ("timehandoff ntp show", "timehandoff ntp list"),
                         ("[responder] allow", "[responder] permit")):
            if old in read(page):
                yield page, read(page).replace(old, new), f"'{old}' in {page}"
    for figure in figures_in(chapter(read(README), "## Figures")):
        yield (README, without(read(README), "## Figures", re.escape(figure), "98,765 ms"),
               f"the figure {figure}")
    for name, test in named_tests(read):
        yield (SECURITY, read(SECURITY).replace(f"`{name}.{test}`", f"`{name}.{test}_not`"),
               f"the test {name}.{test}")
    for name, fields in field_lists():
        for field in fields:
            yield (name, without(read(name), "# JOURNAL", rf"\b{field}\b", "OTHER"), field)


def unnoticed(read):
    count = 0
    for name, text, what in mutations(read):
        count += 1
        if text == read(name):
            yield f"the self-test could not take out {what}"
        elif next(faults(lambda path: text if path == name else read(path)), None) is None:
            yield f"nobody would notice if {what} were wrong or missing"
    if count < 100:
        yield f"the self-test took out only {count} things"


def main():
    texts = {name: (TOP / name).read_text()
             for name in PAGES + [EXAMPLE, CATALOG, OPERATIONS, README, SECURITY, BENCHMARKS]}
    found = list(faults(texts.__getitem__)) or list(unnoticed(texts.__getitem__))
    print("\n".join(found) or f"{len(texts)} documents, no fault")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
