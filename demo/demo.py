#!/usr/bin/env python3
"""As ``cadformer predict``."""

from cadformer_d2.command_errors import run_command
from cadformer_d2.commands.predict import main

if __name__ == "__main__":
    run_command(main)
