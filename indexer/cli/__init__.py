"""The verbs of the command `indexer`. Each imports what it needs when it runs, so that help is quick."""


def main() -> None:
    """Run the command line and end the process with its exit code."""
    from indexer.cli.commands import cli

    cli.main(prog_name="indexer")
