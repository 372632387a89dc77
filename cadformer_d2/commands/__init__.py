"""What can be called from a shell: one module a command, and ``main``, which finds it."""
