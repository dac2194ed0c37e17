"""What `ablations/pruning.py:quick` must find, read off its verdicts.json: `check_quick.py WORKDIR` prints it.

Wide enough for another machine's rounding, and narrow enough that a map which shows nothing, or everything, fails:
subtraction is free at first and harmed before facts are, facts are harmed in the end, and the claim that classes come
apart is contradicted.
"""

import json
import sys
from pathlib import Path
from typing import Any

EARLY, LATE = "subtraction/iid", "facts/uniform"


def missed(verdicts: dict[str, Any]) -> list[str]:
    """What should have been found and was not."""
    bounds = {bound["ability"]: bound for bound in verdicts["bounds"]}
    free = {name: bounds[name]["shown_free_until"] or 0.0 for name in (EARLY, LATE)}
    harmed = {name: bounds[name]["shown_harmful_from"] or 1.0 for name in (EARLY, LATE)}
    for name in (EARLY, LATE):
        print(f"{name}: free until {free[name]:g}, harmed from {harmed[name]:g} (1: nowhere)")
    found = {
        "8 seeds at 9 settings": len(verdicts["seeds"]) >= 8 and len(verdicts["knob"]["values"]) >= 9,
        f"{EARLY} free until 0.24 or farther": free[EARLY] >= 0.24,
        f"{EARLY} harmed from 0.72 or earlier": harmed[EARLY] <= 0.72,
        f"{LATE} free beyond where {EARLY} is": free[LATE] > free[EARLY],
        f"{LATE} harmed, and only beyond where {EARLY} is": harmed[EARLY] < harmed[LATE] < 1,
    }
    for claim in verdicts["claims"]:
        against = [one["value"] for one in claim["settings"] if "against" in one["shown"]]
        gained = [one["value"] for one in claim["settings"] if "gain" in one["shown"]]
        print(f"{claim['ability']}, {claim['metric']}: {claim['kind']}; gain {gained}, against the claim {against}")
        if claim["metric"] == "fisher_trace":
            found[f"{claim['ability']}, fisher_trace against the claim at two settings"] = len(against) >= 2
    return [what for what, holds in found.items() if not holds]


if __name__ == "__main__":
    lacking = missed(json.loads((Path(sys.argv[1]) / "verdicts.json").read_text(encoding="utf-8")))
    sys.exit(f"not found: {'; '.join(lacking)}" if lacking else 0)
