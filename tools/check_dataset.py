#!/usr/bin/env python3
"""As ``cadformer dataset check``."""

from cadformer_d2.command_errors import run_command
from cadformer_d2.commands.check_dataset import main

if __name__ == "__main__":
    run_command(main)
