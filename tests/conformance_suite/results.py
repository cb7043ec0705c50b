"""From the suite's export to the table in planning/v5/oidc_conformance_results.md, and back for comparison."""

import collections
import hashlib
import io
import json
import pathlib
import re
import zipfile

DOCUMENT = pathlib.Path("planning/v5/oidc_conformance_results.md")
BEGIN = "<!-- Written by tests/conformance_suite/run --record from here -->"
END = "<!-- to here -->"

# From best to worst. REVIEW: everything that a program can check passed, and a picture waits for a person.
ORDER = ["PASSED", "REVIEW", "SKIPPED", "WARNING", "FAILED", "INTERRUPTED", "NOT RUN"]

Row = collections.namedtuple("Row", "module result note")


class PlanResult:
    """What became of one plan: a row for each of its modules, and the export that they were read from."""

    def __init__(self, plan, modules, export, pictures):
        self.plan = plan
        self.sha256 = hashlib.sha256(export).hexdigest() if export else None
        exported = read_export(export) if export else {}
        self.rows = [row(name, exported.get(name), pictures.get(name)) for name in modules]

    def counts(self):
        counted = collections.Counter(row.result for row in self.rows)
        return ", ".join(f"{counted[result]} {result}" for result in ORDER if counted[result])


def read_export(export):
    """Module name → its log, from the files `test-log-….json` of the zip."""
    with zipfile.ZipFile(io.BytesIO(export)) as files:
        logs = [json.loads(files.read(name)) for name in files.namelist() if name.endswith(".json")]
    return {log["testInfo"]["testName"]: log for log in logs}


def row(module, log, picture):
    if log is None:
        return Row(module, "NOT RUN", "the module was not run")
    information = log["testInfo"]
    entries = log["results"]
    result = information.get("result") or "INTERRUPTED"
    if information.get("status") != "FINISHED" and result != "FAILED":
        result = "INTERRUPTED"
    succeeded = sum(entry.get("result") == "SUCCESS" for entry in entries)
    notes = [f"{succeeded} checks succeeded"]
    for entry in entries:
        if entry.get("result") in ("WARNING", "FAILURE"):
            notes.append(f"{entry['result']} in {entry.get('src')}: {entry.get('msg')}")
    if result == "REVIEW" and picture:
        notes.append(f"picture: the page “{picture['title']}”")
    return Row(module, result, "; ".join(notes))


def cell(text):
    return " ".join(str(text).split()).replace("|", "\\|")


def section(result):
    """The Markdown of one plan."""
    plan = result.plan
    variant = ", ".join(f"`{name}={value}`" for name, value in plan["variant"].items()) or "none"
    lines = [
        f"### {plan['profile']}: `{plan['plan']}`",
        "",
        f"{result.counts()}. Variant sent: {variant}. SHA-256 of the suite's export:",
        f"`{result.sha256 or 'there is none'}`",
        "",
        "| module | result | note |",
        "| --- | --- | --- |",
    ]
    lines += [f"| {row.module} | {row.result} | {cell(row.note)} |" for row in result.rows]
    return "\n".join(lines) + "\n"


def recorded(document):
    """(plan, module) → result, from the document's tables."""
    found = {}
    plan = None
    for line in document.splitlines():
        if heading := re.match(r"### .*`([\w-]+)`$", line):
            plan = heading[1]
        elif cells := re.match(r"\| (oidcc-[\w-]+) \| ([A-Z ]+) \|", line):
            found[plan, cells[1]] = cells[2]
    return found


def worse_than_recorded(result, record, only=None):
    """What got worse, one sentence for each. A module that is not recorded has to pass; one that is recorded has to be there.

    With `only`, the names of the modules that were asked for, nothing is said of the others; each of them has to have run.
    """
    profile, plan = result.plan["profile"], result.plan["plan"]
    complaints = []
    for row in result.rows:
        if only and row.module not in only:
            continue
        before = record.get((plan, row.module), "PASSED")
        if rank(row.result) > rank(before):
            complaints.append(f"{profile}: {row.module} is {row.result}, recorded is {before}")
    if not result.rows:
        complaints.append(f"{profile}: the suite's plan has no modules")
    there = {row.module for row in result.rows}
    for recorded_plan, module in record:
        if recorded_plan == plan and module not in there and not only:
            complaints.append(f"{profile}: {module} is recorded, and the suite's plan has it no more")
    return complaints


def without_a_plan(outcomes, only):
    """Those of the names that are no module of any plan: nothing would be run, and nothing would be complained of."""
    there = {row.module for outcome in outcomes for row in outcome.rows}
    return [name for name in only or [] if name not in there]


def rank(result):
    return ORDER.index(result) if result in ORDER else len(ORDER)


def with_sections(document, text):
    """The document with what stands between the two markers replaced."""
    before, rest = document.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"
