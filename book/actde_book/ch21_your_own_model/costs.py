"""What iterations of fine-tuning cost, as ``python benchmarks/finetune.py`` printed it: its output is ``costs.txt``."""

import re
from pathlib import Path

LINE = re.compile(r"^(?P<work>\S.*?) +(?P<seconds>\d+\.\d+) CPU-seconds(?:.*?(?P<times>\d+\.\d+) times)?", re.MULTILINE)
MEMORY = re.compile(r"most memory so far +(\d+\.\d+) GiB")


def printed() -> str:
    """All that the benchmark printed."""
    return Path(__file__).with_name("costs.txt").read_text(encoding="utf-8")


def seconds(told: str) -> dict[str, float]:
    """CPU-seconds of an iteration, by the work that the benchmark names."""
    return {line["work"]: float(line["seconds"]) for line in LINE.finditer(told)}


def times(told: str) -> dict[str, float]:
    """By the same names, of how many times something the benchmark speaks: what it compares is said beside it."""
    return {line["work"]: float(line["times"]) for line in LINE.finditer(told) if line["times"]}


def memory(told: str) -> tuple[float, ...]:
    """Most memory up to each place at which it was asked for, in GiB."""
    return tuple(map(float, MEMORY.findall(told)))
