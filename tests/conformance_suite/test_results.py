"""What the driver makes of a suite's results: `python3 -m unittest discover --start-directory tests/conformance_suite`."""

import io
import json
import pathlib
import sys
import unittest
import zipfile

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent))

import results

PLAN = {"plan": "oidcc-some-plan", "profile": "Some OP", "variant": {"server_metadata": "discovery"}}
ONE, TWO = "oidcc-one", "oidcc-two"


def log(name, result, status="FINISHED", entries=()):
    return {"testInfo": {"testName": name, "status": status, "result": result}, "results": list(entries)}


def plan_result(modules, logs, pictures=None):
    export = io.BytesIO()
    with zipfile.ZipFile(export, "w") as files:
        for number, text in enumerate(map(json.dumps, logs)):
            files.writestr(f"test-log-{number}.json", text)
    return results.PlanResult(PLAN, modules, export.getvalue() if logs else None, pictures or {})


def complaints(result, record, only=None):
    return results.worse_than_recorded(result, {(PLAN["plan"], name): value for name, value in record.items()}, only)


class Results(unittest.TestCase):
    def test_a_module_that_was_not_run_is_a_row_that_says_so(self):
        rows = plan_result([ONE, TWO], [log(ONE, "PASSED")]).rows
        self.assertEqual([row.result for row in rows], ["PASSED", "NOT RUN"])

    def test_a_module_that_did_not_finish_has_not_passed(self):
        (row,) = plan_result([ONE], [log(ONE, "PASSED", status="INTERRUPTED")]).rows
        self.assertEqual(row.result, "INTERRUPTED")
        (row,) = plan_result([ONE], [log(ONE, None)]).rows
        self.assertEqual(row.result, "INTERRUPTED")

    def test_warnings_and_failures_are_notes(self):
        entries = [{"result": "SUCCESS"}, {"result": "WARNING", "src": "Check", "msg": "odd | thing"}]
        result = plan_result([ONE], [log(ONE, "WARNING", entries=entries)])
        self.assertIn("1 checks succeeded; WARNING in Check: odd \\| thing |", results.section(result))


class Worse(unittest.TestCase):
    def test_the_same_or_better_is_no_complaint(self):
        result = plan_result([ONE, TWO], [log(ONE, "PASSED"), log(TWO, "REVIEW")])
        self.assertEqual(complaints(result, {ONE: "WARNING", TWO: "REVIEW"}), [])

    def test_worse_is_named_with_what_was_recorded(self):
        for now in ["REVIEW", "SKIPPED", "WARNING", "FAILED", "something new"]:
            result = plan_result([ONE], [log(ONE, now)])
            self.assertEqual(complaints(result, {ONE: "PASSED"}), [f"Some OP: {ONE} is {now}, recorded is PASSED"])

    def test_what_is_not_recorded_has_to_pass(self):
        self.assertEqual(len(complaints(plan_result([ONE], [log(ONE, "REVIEW")]), {})), 1)

    def test_a_recorded_module_has_to_be_there_and_to_run(self):
        self.assertEqual(len(complaints(plan_result([ONE], [log(ONE, "PASSED")]), {ONE: "PASSED", TWO: "PASSED"})), 1)
        self.assertEqual(len(complaints(plan_result([ONE, TWO], [log(ONE, "PASSED")]), {ONE: "PASSED", TWO: "PASSED"})), 1)
        self.assertEqual(len(complaints(plan_result([], []), {})), 1)

    def test_of_named_modules_nothing_is_said_of_the_others(self):
        result = plan_result([ONE, TWO], [log(ONE, "PASSED")])
        self.assertEqual(complaints(result, {ONE: "PASSED", TWO: "PASSED"}, [ONE]), [])
        self.assertEqual(len(complaints(result, {ONE: "PASSED", TWO: "PASSED"}, [TWO])), 1)

    def test_a_misspelt_module_is_noticed(self):
        result = plan_result([ONE], [log(ONE, "PASSED")])
        self.assertEqual(results.without_a_plan([result], [ONE, "oidcc-on"]), ["oidcc-on"])


class Record(unittest.TestCase):
    def test_what_is_written_is_read_again(self):
        result = plan_result([ONE, TWO], [log(ONE, "PASSED"), log(TWO, "REVIEW")], {TWO: {"title": "Sign in"}})
        before = f"about\n{results.BEGIN}\nold\n{results.END}\nafter\n"
        document = results.with_sections(before, results.section(result))
        self.assertTrue(document.startswith("about") and document.endswith("after\n") and "old" not in document)
        self.assertEqual(results.recorded(document), {(PLAN["plan"], ONE): "PASSED", (PLAN["plan"], TWO): "REVIEW"})
        self.assertIn("picture: the page “Sign in”", document)

    def test_the_record_of_this_repository_can_be_read(self):
        repository = pathlib.Path(__file__).parents[2]
        record = results.recorded((repository / results.DOCUMENT).read_text())
        plans = {json.loads(path.read_text())["plan"] for path in (pathlib.Path(__file__).parent / "plans").glob("*.json")}
        self.assertEqual({plan for plan, _ in record}, plans)
        self.assertGreater(len(record), 80)


if __name__ == "__main__":
    unittest.main()
