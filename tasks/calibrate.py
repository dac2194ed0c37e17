"""`python -m tasks.calibrate [--all | TASK or TASK/CARD …]`: train the calibration cards, measured beside expected.

The cards are data of the tasks; training them is the lab's work. Tasks import nothing of the lab, so this only starts
`lab.checks.known_results`.
"""

from __future__ import annotations

import subprocess
import sys

if __name__ == "__main__":
    sys.exit(subprocess.call([sys.executable, "-m", "lab.checks.known_results", *sys.argv[1:]]))
