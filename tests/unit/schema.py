# SPDX-License-Identifier: LGPL-2.1-or-later
"""The schema of `dry-run --json` says what the sources say.

Its words are those of the sources, each property is described and is in timehandoff(1), and no
object takes what is not described. To be sure that a gap would be noticed, each word and each
description is then taken out in turn, and the checks must complain.
"""

import copy
import json
import re
import sys

from docs import COMMAND_PAGE, TOP, chapter, source_words, sources, words

SCHEMA = TOP / "docs" / "timehandoff-dry-run.schema.json"


def returned(name, function):
    """The words in the body of a function that gives names."""
    body = re.search(rf"^[^\n]*\b{function}\([^;]*?\{{\n(.*?)^\}}", sources[name], re.M | re.S)[1]
    return re.findall(r'"([\w-]+)"', body)


def truth():
    """Place of an enumeration in the schema -> its words, out of the sources."""
    verdict = words("plugin/policy/verdict_name.c", "TH_")
    seen = re.search(r'"seen_from",\s*check->outgoing \? "(\w+)" : "(\w+)"',
                     sources["plugin/report/dry_run_json.c"])
    return {
        "$defs.ternary": returned("plugin/base/ternary.c", "th_ternary_name"),
        "$defs.decision": words("plugin/policy/decision_name.c", "TH_DECIDE_").values(),
        "$defs.verdict.action":
            [word for key, word in verdict.items() if not key.startswith("TH_REASON_")],
        "$defs.verdict.reason":
            [word for key, word in verdict.items() if key.startswith("TH_REASON_")],
        "$defs.synchronised_from": returned("plugin/clock/sync.c", "th_sync_from_name")
        + returned("plugin/fleet/check.c", "th_check_told_by_name"),
        "seen_from": seen.groups(),
        "domain.handoff": words("plugin/domain/handoff_mode.c", "TH_HANDOFF_").values(),
        "domain.handoff_from": words("plugin/config/config_domain.c", "TH_POLICY_FROM_").values(),
        "source.found_by": source_words("th_source_how_name"),
        "source.stamp": source_words("th_stamp_state_name"),
        "gap.clock": returned("plugin/clock/probe.c", "th_probe_clock_name"),
        "afterwards.stops[].id": words("plugin/guest/afterwards.c", "TH_STOP_").values(),
        "lint.findings[].severity": words("plugin/lint/facts_name.c", "TH_LINT_").values(),
    }


def places(schema):
    """(place, subschema) of every property and definition."""
    def within(place, node):
        if "items" in node:
            yield from inside(place + "[]", node["items"])
        for name, below in node.get("properties", {}).items():
            yield from inside(f"{place}.{name}" if place else name, below)

    def inside(place, node):
        yield place, node
        yield from within(place, node)

    yield from within("", schema)
    for name, node in schema["$defs"].items():
        yield from inside("$defs." + name, node)


def faults(schema, page):
    wanted = truth()
    for place, node in places(schema):
        if not node.get("description"):
            yield f"{place}: no description"
        if node.get("type") == "object" and node.get("additionalProperties") is not False:
            yield f"{place}: takes anything"
        if "enum" in node and place not in wanted:
            yield f"{place}: nobody knows where its words come from: teach tests/unit/schema.py"
        name = place.removeprefix("$defs.verdict.")
        if "properties" not in node and "items" not in node and not place.endswith("]") and \
                not name.startswith(("$defs.", "gap.")) and name not in page:
            yield f"{COMMAND_PAGE}: {place} is not there"
    found = {place: node.get("enum", []) for place, node in places(schema)}
    for place, listed in wanted.items():
        if not listed or sorted(set(listed)) != sorted(found.get(place, [])):
            yield f"{place}: {found.get(place)} in the schema, {sorted(set(listed))} in the sources"
    if schema.get("additionalProperties") is not False:
        yield "the document takes anything"


def unnoticed(schema, page):
    """What could be taken out without a complaint."""
    for place, node in places(schema):
        for key in ("description", "additionalProperties", "enum"):
            if key not in node:
                continue
            changed = copy.deepcopy(schema)
            target = dict(places(changed))[place]
            if key == "enum":
                target[key].pop()
            else:
                del target[key]
            if next(faults(changed, page), None) is None:
                yield f"nobody would notice if {place} lost its {key}"


def main():
    schema = json.loads(SCHEMA.read_text())
    page = chapter((TOP / COMMAND_PAGE).read_text(), "## timehandoff dry-run --json")
    found = list(faults(schema, page)) or list(unnoticed(schema, page))
    print("\n".join(found) or f"{len(list(places(schema)))} places, no fault")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
