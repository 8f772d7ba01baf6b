"""The commands of `portico`. Each imports what it needs when it runs, so `--help` is instant."""

import asyncio
import errno
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from application.setting_problems import UnsafeSettings
from application.settings import WorkerPool
from domain.errors import PorticoError, Unavailable
from entrypoints.cli import console
from entrypoints.cli.errors import DependencyDown, ExitCode, Refused
from local_stack.errors import LocalStackError

_EXIT_CODES = """
Exit codes: 0 done; 2 wrong settings or arguments; 3 a server that Portico needs does not answer; 1 anything else.

Settings come from the environment, `.env.<environment>` and `.env`; docs/configuration.md lists them all.
"""

app = typer.Typer(
    name="portico",
    help="Portico: accounts, sessions and permissions behind one HTTP API.",
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - as typer calls it
    if wanted:
        console.show(f"portico {version('portico')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            help="Show the version, and no more.",
        ),
    ] = False,
) -> None:
    """Options before the name of a command."""


Wait = Annotated[
    float, typer.Option(metavar="SECONDS", min=0, help="How long to wait for servers.")
]


@app.command()
def run(
    *,
    reload: Annotated[
        bool | None,
        typer.Option(
            help="Restart API, worker and beat when the code changes. [default: in LOCAL, in a clone]",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Start everything: servers, migrations, the first administrator, API, worker, beat. Ctrl-C stops it.

    It starts each of PostgreSQL, Redis, MongoDB and S3 that has no configured address, with its data in
    PORTICO_DATA_DIR. When all is ready, it prints the addresses and the log-in on standard output.
    """
    from entrypoints.cli.run import run as run_everything

    run_everything(reload=reload, json=json)


@app.command()
def api(
    *,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. [default: PORTICO_HTTP_HOST]")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on. [default: PORTICO_HTTP_PORT]")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Number of processes. [default: PORTICO_HTTP_WORKERS]")
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Start nothing; exit with 1 if no API answers at that address."
        ),
    ] = False,
    wait: Wait = 30,
    json: Json = False,
) -> None:
    """Serve the HTTP API.

    It refuses to start while a server does not answer or migrations are missing. SIGTERM ends it after
    PORTICO_HTTP_DRAIN, once the requests in flight are answered, PORTICO_HTTP_STOP_TIMEOUT later at the latest. With
    two workers or more, SIGHUP replaces them one by one.
    """
    if check:
        from entrypoints.cli.liveness import check_api

        check_api(host=host, port=port, json=json)
        return
    from entrypoints import garbage_collection

    garbage_collection.put_off()
    from entrypoints.cli.api import serve

    serve(host=host, port=port, workers=workers, patience=wait)


@app.command()
def worker(
    *,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="Parallel tasks. [default: PORTICO_WORKER_CONCURRENCY]"),
    ] = None,
    pool: Annotated[
        WorkerPool | None, typer.Option(help="Pool of Celery. [default: PORTICO_WORKER_POOL]")
    ] = None,
    queues: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Queues, separated by commas. [default: portico]"),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the worker; unique on its host.")] = "celery",
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Start nothing; exit with 1 if no worker of that name on this host answers.",
        ),
    ] = False,
    wait: Wait = 30,
    json: Json = False,
) -> None:
    """Run tasks.

    It refuses to start while a server does not answer or migrations are missing. SIGTERM ends it once the tasks that
    run have ended; SIGQUIT ends it at once.
    """
    from entrypoints.cli import jobs

    if check:
        jobs.check_worker(name, json=json)
    else:
        jobs.work(name, concurrency=concurrency, pool=pool, queues=queues, patience=wait)


@app.command()
def beat(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Start nothing; exit with 1 if no beat leads.")
    ] = False,
    wait: Wait = 30,
    json: Json = False,
) -> None:
    """Publish periodic tasks when they are due. Of several beats one leads; the others stand by.

    It refuses to start while a server does not answer or migrations are missing. On SIGTERM it stops, and another
    beat takes over at once.
    """
    from entrypoints.cli import jobs

    if check:
        asyncio.run(jobs.check_beat(json=json))
    else:
        jobs.beat(patience=wait)


@app.command()
def migrate(
    *,
    autogenerate: Annotated[
        str | None,
        typer.Option(
            metavar="MESSAGE",
            help="Write a migration for the difference between the database and the tables in the code.",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with 1 if migrations are missing.")
    ] = False,
    wait: Wait = 30,
    json: Json = False,
) -> None:
    """Upgrade the database to the newest schema. Several processes may run this at once."""
    from entrypoints.cli import migrate as command

    if check and autogenerate is not None:
        raise typer.BadParameter("cannot be combined with --check", param_hint="--autogenerate")
    if autogenerate is not None:
        asyncio.run(command.write(autogenerate, patience=wait, json=json))
    elif check:
        asyncio.run(command.check(patience=wait, json=json))
    else:
        asyncio.run(command.upgrade(patience=wait, json=json))


@app.command()
def psql(
    *,
    command: Annotated[
        str | None,
        typer.Option("-c", "--command", metavar="SQL", help="Run this and exit."),
    ] = None,
    wait: Wait = 30,
) -> None:
    """Open psql on the configured database, or on that of the running local stack.

    The exit code is that of psql.
    """
    from entrypoints.cli.psql import run_psql

    arguments = () if command is None else ("--command", command)
    raise typer.Exit(asyncio.run(run_psql(arguments, patience=wait)))


@app.command()
def reset(
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete all local data of `portico run` in PORTICO_DATA_DIR. Refused while it runs, and when deployed."""
    from entrypoints.cli.reset import reset as remove

    remove(confirmed=yes)


@app.command()
def create_admin(
    *,
    username: Annotated[str | None, typer.Option(help="[default: PORTICO_ADMIN_USERNAME]")] = None,
    email: Annotated[str | None, typer.Option(help="[default: PORTICO_ADMIN_EMAIL]")] = None,
    name: Annotated[str | None, typer.Option(help="[default: PORTICO_ADMIN_NAME]")] = None,
    wait: Wait = 30,
    json: Json = False,
) -> None:
    """Create the first administrator, unless an active one exists.

    The password is PORTICO_ADMIN_PASSWORD. Without it, LOCAL and TESTING create a one-time password and print it
    once; STAGING and PRODUCTION refuse.
    """
    from entrypoints.cli.administrator import create

    wanted = {"admin_username": username, "admin_email": email, "admin_name": name}
    given = {k: v for k, v in wanted.items() if v is not None}
    asyncio.run(create(given, patience=wait, json=json))


@app.command()
def set_password(
    user: Annotated[str, typer.Argument(help="Their username or email.")],
    *,
    file: Annotated[
        Path | None,
        typer.Option(help="Read the password from this file. [default: the terminal, or a pipe]"),
    ] = None,
    wait: Wait = 30,
    json: Json = False,
) -> None:
    """Set the password of a user and end their sessions, for example of an administrator who lost it.

    The password is read from the terminal (twice), a file or a pipe, because others can see a command line.
    """
    from entrypoints.cli import password

    chosen = password.read(file)
    asyncio.run(password.store(user, chosen, patience=wait, json=json))


@app.command()
def make_keys(
    directory: Annotated[
        Path, typer.Argument(help="The directory of PORTICO_KEYS_DIR; created if it is missing.")
    ],
    *,
    rotate: Annotated[
        bool,
        typer.Option(
            "--rotate",
            help="Retire the active keys and activate the next ones; restart every process afterwards.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Create the RSA keys for access tokens, refresh tokens and passwords, and the secret for names; or rotate keys.

    Existing keys are never overwritten.
    """
    from entrypoints.cli.keys import make

    make(directory, rotate=rotate, json=json)


@app.command()
def make_secrets(
    directory: Annotated[
        Path,
        typer.Argument(help="The directory that compose.yaml names; must be empty or missing."),
    ],
    *,
    json: Json = False,
) -> None:
    """Create every password and key that compose.yaml needs, each in a file of its own.

    Existing files are never overwritten.
    """
    from entrypoints.cli.keys import make_secrets as make

    make(directory, json=json)


@app.command()
def sync_routes(*, wait: Wait = 30, json: Json = False) -> None:
    """Update the catalogue of permissions to the routes of this version, before its API first runs.

    The API does this when it starts; use the command for roles that must exist earlier.
    """
    from entrypoints.cli.permissions import sync

    asyncio.run(sync(patience=wait, json=json))


@app.command()
def openapi(
    file: Annotated[
        Path | None, typer.Argument(help="Where to write it. [default: standard output]")
    ] = None,
) -> None:
    """Write the OpenAPI document of the API as JSON. Needs no settings and no server."""
    from entrypoints.cli.documents import write_openapi

    write_openapi(file)


@app.command()
def asyncapi(
    file: Annotated[
        Path | None, typer.Argument(help="Where to write it. [default: standard output]")
    ] = None,
) -> None:
    """Write the AsyncAPI document of the events of Socket.IO as JSON. Needs no settings and no server."""
    from entrypoints.cli.documents import write_asyncapi

    write_asyncapi(file)


@app.command()
def doctor(*, json: Json = False) -> None:
    """Check every setting and every server that Portico needs, and say what to do.

    The exit code is that of the worst finding.
    """
    from entrypoints.cli.doctor import examine

    raise typer.Exit(asyncio.run(examine(json=json)))


def main() -> None:
    """Run a command; an expected failure prints one message and sets the exit code."""
    code = 0
    try:
        app()
    except UnsafeSettings as error:
        for problem in error.problems:
            console.fail(str(problem))
        if not _names_environment():
            console.say(
                "ENVIRONMENT is not set, so this is PRODUCTION; on your own machine set ENVIRONMENT=LOCAL"
            )
        code = ExitCode.WRONG_SETTINGS
    except DependencyDown as error:
        console.fail(str(error))
        code = ExitCode.DEPENDENCY_DOWN
    except Unavailable as error:
        console.fail(f"{error}{f': {error.reason}' if error.reason else ''}")
        code = ExitCode.DEPENDENCY_DOWN
    except (Refused, LocalStackError, PorticoError) as error:
        console.fail(str(error))
        code = ExitCode.FAILED
    except OSError as error:
        if error.errno not in _FILE_ERRORS:
            raise
        console.fail(f"{error.filename or 'A file'} cannot be used: {error.strerror}")
        code = ExitCode.FAILED
    sys.exit(code)


_FILE_ERRORS = {
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOSPC, errno.EDQUOT),
    *(errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG),
}
"""Errors of files and disks, not of the code."""


def _names_environment() -> bool:
    import bootstrap

    return bootstrap.names_environment()


if __name__ == "__main__":
    main()
