"""Celery's commands `worker` and `beat` on our application, without the others.

The others import prompt_toolkit, for a shell, and these pygments, for colours: 8 and 2 MB in each process.
"""

import click

from bootstrap import absent

with absent("pygments"):
    from celery.bin.base import CLIContext
    from celery.bin.beat import beat
    from celery.bin.worker import worker


@click.group()
@click.pass_context
def main(context: click.Context) -> None:
    """Run a worker or a beat."""
    # Its defaults are those of the current command.
    from entrypoints.celery.app import app  # noqa: PLC0415

    context.obj = CLIContext(app=app, no_color=False, workdir=None, quiet=True)


main.add_command(worker)
main.add_command(beat)

if __name__ == "__main__":
    main(auto_envvar_prefix="CELERY")  # as that of Celery
