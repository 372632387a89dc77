#!/usr/bin/env python3
"""As ``cadformer dataset synthesize-scene``."""

from cadformer_d2.command_errors import run_command
from cadformer_d2.commands.synthesize_scene import main

if __name__ == "__main__":
    run_command(main)
