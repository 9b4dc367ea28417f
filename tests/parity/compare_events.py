"""Trains a small model, resumes it, and compares what TensorBoard reads of the run with metrics.jsonl.

compare_events.py MUDELTA WORK_FOLDER
"""

import json
import pathlib
import shutil
import subprocess
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def run(*arguments):
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)


mudelta, work = sys.argv[1], pathlib.Path(sys.argv[2])
shutil.rmtree(work, ignore_errors=True)
work.mkdir(parents=True)
for name in ("a", "b"):
    text = "\n\n".join(f"the {name} text has a number, which is {i * 7919 % 1009}" for i in range(500))
    (work / f"{name}.txt").write_text(text)
    run(mudelta, "prepare", "--input", work / f"{name}.txt", "--out", work / name, "--validation-fraction", "0.1")
(work / "run.textproto").write_text(f"""
data {{ sources {{ path: "{work}/a" weight: 3 }} sources {{ path: "{work}/b" }} }}
model {{ width: 32 layers: 1 heads: 2 }}
train {{ steps: 12 global_batch: 4 sequence_length: 32 eval_every: 4 }}
optimizer {{ adamw {{ lr: 1e-2 }} }}
checkpoint {{ every_steps: 6 }}
""")
train = (mudelta, "train", work / "run.textproto", "--out", work / "run")
run(*train)
run(*train, "--resume", "--from", "6", "--set", "train.steps=16")

events = EventAccumulator(str(work / "run"), size_guidance={"scalars": 0}).Reload()
names = {"train/loss": "loss", "train/lr": "lr", "train/grad_norm": "grad_norm", "train/tokens": "tokens",
         "speed/tokens_per_second": "tokens_per_second", "speed/mfu": "mfu", "eval/loss": "eval_loss",
         "eval/bits_per_byte": "eval_bits_per_byte"}
records = [json.loads(line) for line in (work / "run" / "metrics.jsonl").read_text().splitlines()]
compared = 0
for tag, field in names.items():
    expected = {record["step"]: record[field] for record in records if field in record}
    # Of a step that was made twice, the later one counts.
    found = {event.step: event.value for event in events.Scalars(tag)}
    assert len(events.Scalars(tag)) == len(expected), (tag, len(events.Scalars(tag)), len(expected))
    assert found.keys() == expected.keys(), (tag, sorted(found), sorted(expected))
    for step, value in expected.items():
        assert abs(found[step] - value) <= 1e-6 * abs(value), (tag, step, found[step], value)
        compared += 1
for record in records:
    for name, source in record.get("sources", {}).items():
        found = [e.value for e in events.Scalars(f"share/{name}") if e.step == record["step"]]
        assert len(found) == 1 and abs(found[0] - source["share"]) < 1e-6, (record["step"], name, found)
        compared += 1
print(f"{compared} values of {len(names) + 2} tags are as in metrics.jsonl")
