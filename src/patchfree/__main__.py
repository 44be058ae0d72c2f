"""`python -m patchfree`: the command line, for `torchrun -m patchfree`."""

from patchfree.cli import main

if __name__ == "__main__":
    main()
