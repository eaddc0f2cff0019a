#!/usr/bin/env python3
"""Checks that a data set directory agrees with itself: check_dataset.py DIR

Rows of dataset.jsonl are the accepted trials; trials are named once; per-problem counts follow from
the trials. A run that ended early may have none yet. Exits with 1 and a message where they do not."""
import collections, json, sys

if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
    sys.exit(__doc__)
directory = sys.argv[1]


def rows(name):
    with open(f"{directory}/{name}", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def check(condition, message):
    if not condition:
        sys.exit(f"{directory}: {message}")


dataset, trials, problems = rows("dataset.jsonl"), rows("trials.jsonl"), rows("problems.jsonl")
with open(f"{directory}/manifest.json", encoding="utf-8") as file:
    manifest = json.load(file)
check(manifest, "the manifest is empty")
early = manifest.get("stop") in ("interrupted", "time", "tokens", "trials")
check(problems and (early or trials and dataset), "a file has no rows")
check(all(set(row) == {"query", "response"} for row in dataset), "a data set row has other fields")

question = {problem["id"]: problem["question"] for problem in problems}
check(len(question) == len(problems), "a problem is listed twice")
names = collections.Counter((trial["problem"], trial["trial"]) for trial in trials)
check(max(names.values(), default=1) == 1, "a trial is listed twice")
check(all(trial["problem"] in question for trial in trials), "a trial of an unknown problem")

accepted = [trial for trial in trials if trial["accepted"]]
check(all(trial["equal"] for trial in accepted), "a trial with a wrong answer was accepted")
want = sorted((question[trial["problem"]], trial["response"]) for trial in accepted)
check(want == sorted((row["query"], row["response"]) for row in dataset), "data set and accepted trials differ")

for problem in problems:
    own = [trial for trial in trials if trial["problem"] == problem["id"]]
    kept = sum(trial["accepted"] for trial in own)
    check(problem["kept"] == kept, f"{problem['id']}: kept {problem['kept']}, but {kept} trials are accepted")
    check(problem["correct"] <= problem["trials"] <= len(own), f"{problem['id']}: counts contradict each other")

print(f"{directory}: {len(problems)} problems, {len(trials)} trials, {len(dataset)} responses kept")
