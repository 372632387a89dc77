"""``python -m cadformer_d2``: the program ``cadformer`` where its script is not on the path."""

from .commands.main import main

if __name__ == "__main__":
    main()
