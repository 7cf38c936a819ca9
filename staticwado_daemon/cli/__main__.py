"""`python -m staticwado_daemon.cli`: the command line where its scripts aren't on the PATH."""

from staticwado_daemon.cli import main

if __name__ == "__main__":
    main()
