#!/usr/bin/env python3
"""Checks that the files of a data set directory agree: check_dataset.py [--strict] DIR

The rows of dataset.jsonl must be the accepted trials, every trial must be listed once, and the counts per
problem must follow from the trials. A run that ended early may have no trials yet. If the packages datasets,
pandas and pyarrow are installed, they load all tables, as JSON Lines and Parquet, and each row must equal the
one that json reads. Without them, this is skipped, or an error with --strict. If a check fails, the script
prints a message and exits with 1."""
import collections, importlib.util, json, os, sys, tempfile

strict = "--strict" in sys.argv[1:]
arguments = [argument for argument in sys.argv[1:] if argument != "--strict"]
if len(arguments) != 1 or arguments[0].startswith("-"):
    sys.exit(__doc__)
directory = arguments[0]


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


def pair(row):
    """Returns the question and response of a row in any format."""
    if set(row) == {"messages"}:
        user, assistant = row["messages"]
        check((user["role"], assistant["role"]) == ("user", "assistant"), "a chat of other roles")
        return user["content"], assistant["content"]
    if set(row) == {"instruction", "input", "output"}:
        check(row["input"] == "", "an input that is not empty")
        return row["instruction"], row["output"]
    check(set(row) == {"query", "response"}, "a data set row has other fields")
    return row["query"], row["response"]


pairs = sorted(pair(row) for row in dataset)

question = {problem["id"]: problem["question"] for problem in problems}
check(len(question) == len(problems), "a problem is listed twice")
names = collections.Counter((trial["problem"], trial["trial"]) for trial in trials)
check(max(names.values(), default=1) == 1, "a trial is listed twice")
check(all(trial["problem"] in question for trial in trials), "a trial of an unknown problem")

accepted = [trial for trial in trials if trial["accepted"]]
check(all(trial["equal"] for trial in accepted), "a trial with a wrong answer was accepted")
want = sorted((question[trial["problem"]], trial["response"]) for trial in accepted)
check(want == pairs, "data set and accepted trials differ")

for problem in problems:
    own = [trial for trial in trials if trial["problem"] == problem["id"]]
    kept = sum(trial["accepted"] for trial in own)
    correct = sum(trial["equal"] for trial in own)
    if "pass_at_1" in problem and problem["stop_reason"] == "trials_done":
        # The number of trials was fixed.
        check(abs(problem["pass_at_1"] - correct / len(own)) < 1e-9, f"{problem['id']}: pass_at_1 is wrong")
    check(problem["kept"] == kept, f"{problem['id']}: kept {problem['kept']}, but {kept} trials are accepted")
    check(problem["correct"] <= problem["trials"] <= len(own), f"{problem['id']}: counts contradict each other")



def known(value):
    """Converts a value to plain objects and lists, without its missing values."""
    if isinstance(value, dict):
        fields = {name: known(field) for name, field in value.items()}
        return {name: field for name, field in fields.items() if field is not None}
    if isinstance(value, (list, tuple)):
        return [known(element) for element in value]
    if hasattr(value, "tolist"):
        return known(value.tolist())
    return None if value != value else value


def normal(row, seed=int):
    """Normalizes a row over file types: missing values, metadata as text, rounded seeds."""
    row = known(dict(row))
    if isinstance(row.get("metadata"), str):
        row["metadata"] = known(json.loads(row["metadata"]))
    if row.get("unfinished_reasoning") is False:
        del row["unfinished_reasoning"]
    if "seed" in row:
        row["seed"] = seed(row["seed"])
    return row


def differ(one, other, within):
    """Returns whether two values differ, with a tolerance for floating-point numbers."""
    if isinstance(one, float) and isinstance(other, (int, float)):
        return abs(one - other) > within
    return one != other


def compare(loader, name, found, seed=int, within=0):
    want = {"dataset": dataset, "trials": trials, "problems": problems}[name.split(".")[0]]
    want = [normal(row, seed) for row in want]
    found = [normal(row, seed) for row in found]
    check(len(found) == len(want), f"{loader} reads {len(found)} rows of {name}, not {len(want)}")
    for number, (one, other) in enumerate(zip(found, want), 1):
        differing = sorted(key for key in one.keys() | other.keys() if differ(one.get(key), other.get(key), within))
        key = differing[0] if differing else None
        check(not differing, f"{loader}, {name}, row {number}: {key} is {one.get(key)!r}, not {other.get(key)!r}")


def load():
    """Loads all tables as their users do. Returns their number."""
    import datasets, pandas

    datasets.disable_progress_bars()
    count = 0
    card = os.path.exists(f"{directory}/README.md")
    parquet = os.path.exists(f"{directory}/dataset.parquet")
    for name, rows in (("dataset", dataset), ("trials", trials), ("problems", problems)):
        for end in ("jsonl", "parquet"):
            path = f"{directory}/{name}.{end}"
            # In JSON Lines, a table without rows has no columns, so there is nothing to load.
            if not rows or not os.path.exists(path):
                continue
            if end == "jsonl":
                frame = pandas.read_json(path, lines=True, dtype=False, precise_float=True)
            else:
                frame = pandas.read_parquet(path)
            compare("pandas", f"{name}.{end}", frame.to_dict("records"))
            # datasets reads integers of more than 63 bits in JSON Lines as floating point.
            seed = float if end == "jsonl" else int
            # It also rounds numbers to ten decimals if the table has a column of arbitrary JSON.
            within = 1e-9 if (name, end) == ("problems", "jsonl") else 0
            with tempfile.TemporaryDirectory() as cache:
                options = {"split": "train", "cache_dir": cache}
                if card and (end == "parquet") == parquet:
                    found = datasets.load_dataset(directory, name, **options)
                    compare("datasets by the card", f"{name}.{end}", list(found), seed, within)
                # Without a card, it infers the columns from the first 10 MB of JSON Lines.
                if end == "parquet" or os.path.getsize(path) < 10 << 20:
                    found = datasets.load_dataset("parquet" if end == "parquet" else "json", data_files=path, **options)
                    compare("datasets", f"{name}.{end}", list(found), seed, within)
            count += 1
    return count


lacking = [name for name in ("datasets", "pandas", "pyarrow") if importlib.util.find_spec(name) is None]
if not lacking:
    os.environ["HF_HUB_OFFLINE"] = "1"
    loaded = f"{load()} tables loaded by datasets and pandas"
else:
    loaded = f"loading by datasets and pandas skipped: {', '.join(lacking)} not installed"
    check(not strict, loaded)
print(f"{directory}: {len(problems)} problems, {len(trials)} trials, {len(dataset)} responses kept; {loaded}")
