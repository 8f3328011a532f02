"""The tables of the documentation, from folders that ``vidpipe eval --table`` wrote.

    vidpipe eval --table 2 --budget-minutes 60 --train-faces FACES --faces TEST --count 24 -o out/table2
    vidpipe eval idn nar --table 3 --faces TEST --count 24 -o out/table3
    python -m benchmarks.tables docs/tables.md out/table2 out/table3

Each folder gives its ``table.md`` and, where networks were trained for it, how little that was.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

HEAD = """# Tables

Made by `vidpipe eval --table` (see `docs/eval.md`) and `python -m benchmarks.tables`, on people that training
never saw. Means with 95 % bootstrap intervals; the same scenes for every method. The variants are small
networks trained for a few minutes of a CPU core that others used too: **far too short to say which part of
a network is best in the end**. They show that everything trains and is measured in one harness, and what is
learnt first. Differences within the intervals say nothing; give more `--budget-minutes` for a verdict.
"""


def part(folder: Path) -> str:
    """Section of one table."""
    facts = json.loads((folder / "eval.json").read_text())
    count = max(result["scenes"] for result in facts["results"])
    said = [f"{count} pictures for each condition, seed {facts['seed']}."]
    if (plan := facts.get("plan")) is not None:
        said.append(f"{len(plan['variants'])} variants, {plan['steps']} steps each.")
    shipped = [n for n in facts["networks"] if n["file"] in ("idn.safetensors", "nar.safetensors")]
    if plan is None and shipped:
        said.append("Weights: " + ", ".join(f"{n['name']} {n['sha256'][:12]}" for n in shipped) + ".")
    return f"{(folder / 'table.md').read_text().rstrip()}\n\n{' '.join(said)}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("target", type=Path, help="a .md")
    parser.add_argument("folders", type=Path, nargs="+", help="of vidpipe eval --table, in their order")
    given = parser.parse_args()
    given.target.write_text("\n".join([HEAD, *map(part, given.folders)]))


if __name__ == "__main__":
    main()
