"""The `oodinv` command as the start of a list of arguments, for a process of its own."""

import sys

MAIN = [sys.executable, "-c", "from oodinv.cli.main import main; main()"]
