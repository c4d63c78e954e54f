"""The commands and their options. What each does is in a module of its own."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import click

import lanspread
from lanspread.cli.main import DONE, FAILED, INTERRUPTED, NO_PEER, NOT_FOUND, USAGE, complain
from lanspread.config import ENVIRONMENT_PREFIX, LOG_FORMATS, Trust, parse_host_port
from lanspread.errors import Code, LanspreadError, StartError

F = TypeVar("F", bound=Callable[..., Any])


def call(arguments: Sequence[str]) -> int:
    """Parse and carry out one command line; returns the exit code, usage errors included."""
    if sys.stdout is not None and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    try:
        result = cli.main(list(arguments), prog_name="lanspread", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx is not None else "lanspread"
        complain(f"{' '.join(error.format_message().split())} (see `{command} --help`)")
        return USAGE
    except click.ClickException as error:
        complain(error.format_message())
        return FAILED
    except click.Abort:
        return INTERRUPTED
    return result if isinstance(result, int) else DONE


def state_folder(given: str | None) -> str:
    """The state folder: flag, environment, or the platform's."""
    chosen = given or os.environ.get(ENVIRONMENT_PREFIX + "STATE")
    if not chosen:
        import platformdirs

        chosen = platformdirs.user_state_dir("lanspread", appauthor=False)
    return os.path.abspath(os.path.expanduser(chosen))


def run_async(work: Callable[..., Awaitable[int]], *args: Any) -> int:
    """Run the async part of a command and turn its errors into one line and an exit code."""
    import trio

    return run_told(trio.run, functools.partial(work, *args))


def run_told(work: Callable[..., int], *args: Any) -> int:
    """Do a command's work; its errors become one line and an exit code."""
    try:
        return work(*args)
    except BaseException as error:
        code = _explain(error)
        if code is None:
            raise
        return code


def _explain(error: BaseException) -> int | None:
    from lanspread.cli.client import ConnectionLostError, NoPeerError, PeerBusyError

    expected = _find(
        error, (StartError, NoPeerError, PeerBusyError, ConnectionLostError, LanspreadError)
    )
    match expected:
        case StartError():
            complain(str(expected))
            return USAGE if expected.usage else FAILED
        case NoPeerError():
            complain(str(expected))
            return NO_PEER
        case PeerBusyError() | ConnectionLostError():
            complain(str(expected))
            return FAILED
        case LanspreadError():
            remedy = f" ({expected.remedy})" if expected.remedy else ""
            complain(f"{expected.message}{remedy}")
            return NOT_FOUND if expected.code is Code.NOT_FOUND else FAILED
    if _find(error, (KeyboardInterrupt,)) is not None:
        return INTERRUPTED
    broken_pipe = _find(error, (BrokenPipeError,))
    if broken_pipe is not None:
        raise broken_pipe from None
    return None


def _find(error: BaseException, kinds: tuple[type[BaseException], ...]) -> BaseException | None:
    """The first of these kinds in an error or, nurseries make them, in a group of errors."""
    if isinstance(error, kinds):
        return error
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            found = _find(part, kinds)
            if found is not None:
                return found
    return None


def _common(command: F) -> F:
    """What every command takes after its name."""
    command = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")(command)
    return click.option("--state", metavar="DIR", help="The peer's state folder.")(command)


def _games(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """For the shell's completion: the games that the command is for, none if no peer runs."""
    from lanspread.cli.completion import games

    return games(state_folder(context.params.get("state")), begun, context.info_name or "")


_GAME = click.argument("game", shell_complete=_games)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(lanspread.__version__, prog_name="lanspread")
def cli() -> None:
    """Share a library of games with everyone on the local network."""


@cli.command()
@click.option("--games", metavar="DIR", help="The folder of games, one folder in it per game.")
@click.option("--name", help="What others see; default: this machine's name.")
@click.option("--listen", multiple=True, metavar="HOST:PORT", help="UDP, for peers.")
@click.option("--api", metavar="HOST:PORT", help="Page and WebSocket; default 127.0.0.1:7374.")
@click.option("--peer", multiple=True, metavar="HOST:PORT", help="A peer to connect to always.")
@click.option("--no-mdns", is_flag=True, default=None, help="Neither announce nor browse.")
@click.option("--no-bulk", is_flag=True, default=None, help="Move games over QUIC, never TCP.")
@click.option("--interface", multiple=True, metavar="IP", help="Use only these interfaces.")
@click.option("--catalog", metavar="FILE", help="Which games exist; default: any.")
@click.option("--trust", metavar="|".join(Trust), help="Who may connect; default open.")
@click.option("--max-up", type=float, metavar="MBPS", help="MB/s served, for the whole peer.")
@click.option("--max-down", type=float, metavar="MBPS", help="MB/s fetched, for the whole peer.")
@click.option(
    "--auto-install", is_flag=True, default=None, help="Install what was fetched, unasked."
)
@click.option(
    "--polite", is_flag=True, default=None, help="Go slowly: a game is played on this machine."
)
@click.option("--log-format", metavar="|".join(LOG_FORMATS), help="Of the log on stderr.")
@click.option("--new-identity", is_flag=True, help="Make a new key: this becomes another peer.")
@click.option("--new-token", is_flag=True, help="Make a new API token; the old one stops working.")
@_common
def run(state: str | None, as_json: bool, **flags: Any) -> int:
    """Run a peer until Ctrl-C. Prints one line of JSON when it is ready."""
    from lanspread.cli.run import run_peer

    return run_async(run_peer, flags, os.environ, state_folder(state))


def _look(name: str, help_text: str) -> None:
    def command(state: str | None, as_json: bool) -> int:
        from lanspread.cli import look

        return run_async(getattr(look, name), state_folder(state), as_json)

    command.__doc__ = help_text
    cli.command(name)(_common(command))


_look("games", "List the games: here, at others, or both.")
_look("peers", "List the other peers.")
_look("status", "Show what the peer is doing.")
_look("watch", "Print events until Ctrl-C.")
_look("shutdown", "End the running peer.")


@cli.command()
@_GAME
@click.option("--variant", metavar="HASH", help="Which of several variants; see `variants`.")
@click.option("--no-wait", is_flag=True, help="Start it and print its operation_id.")
@click.option("--install", is_flag=True, help="Install it afterwards.")
@_common
def get(
    game: str, variant: str | None, no_wait: bool, install: bool, state: str | None, as_json: bool
) -> int:
    """Fetch a game from the peers that have it."""
    if install and no_wait:
        complain("--install has to wait; `run --auto-install` installs without anybody waiting")
        return USAGE
    from lanspread.cli.get import get_game

    return run_async(
        functools.partial(
            get_game, state_folder(state), game, variant, no_wait, as_json, install=install
        )
    )


@cli.command()
@_GAME
@_common
def variants(game: str, state: str | None, as_json: bool) -> int:
    """List the variants of a game that others offer, for `get --variant`."""
    from lanspread.cli import variants

    return run_async(variants.variants, state_folder(state), game, as_json)


def _operation(kind: str, help_text: str) -> None:
    def command(game: str, state: str | None, as_json: bool) -> int:
        from lanspread.cli.operate import operate

        return run_async(operate, state_folder(state), kind, game, as_json)

    command.__doc__ = help_text
    cli.command(kind)(_GAME(_common(command)))


_operation("install", "Install a game that was fetched.")
_operation("update", "Fetch the newest version of a game, and update what is installed.")


@cli.command()
@_GAME
@click.option("--yes", is_flag=True, help="Do not ask.")
@_common
def uninstall(game: str, yes: bool, state: str | None, as_json: bool) -> int:
    """Remove an installed game, its saves and settings included."""
    from lanspread.cli import output, text
    from lanspread.cli.operate import operate

    if not yes and not as_json and output.on_terminal() and sys.stdin and sys.stdin.isatty():
        question = f"Remove the installed {text.clean(game)} with all its saves and settings?"
        if not click.confirm(question):
            complain("nothing was removed")
            return FAILED
    return run_async(operate, state_folder(state), "uninstall", game, as_json)


@cli.command()
@_GAME
@click.option(
    "--force", is_flag=True, help="Also while others fetch it, and what was copied here by hand."
)
@_common
def remove(game: str, force: bool, state: str | None, as_json: bool) -> int:
    """Remove the downloaded files of a game; what is installed stays."""
    from lanspread.cli.operate import operate

    work = functools.partial(
        operate, state_folder(state), "remove", game, as_json, **({"force": True} if force else {})
    )
    return run_async(work)


def _pause_or_resume(what: str, help_text: str) -> None:
    def command(game: str, state: str | None, as_json: bool) -> int:
        from lanspread.cli.operate import pause_or_resume

        return run_async(pause_or_resume, state_folder(state), what, game, as_json)

    command.__doc__ = help_text
    cli.command(what)(_GAME(_common(command)))


_pause_or_resume("pause", "Pause a download; it stays paused until it is resumed.")
_pause_or_resume("resume", "Go on with a paused download.")


@cli.command()
@_GAME
@_common
def cancel(game: str, state: str | None, as_json: bool) -> int:
    """Cancel what is being done with a game."""
    from lanspread.cli.operate import cancel_game

    return run_async(cancel_game, state_folder(state), game, as_json)


@cli.command()
@click.argument("address", metavar="HOST:PORT")
@_common
def connect(address: str, state: str | None, as_json: bool) -> int:
    """Connect to a peer by its address."""
    try:
        parse_host_port(address)
    except ValueError as error:
        complain(str(error))
        return USAGE
    from lanspread.cli import look

    return run_async(look.connect, state_folder(state), address, as_json)


@cli.command()
@click.argument("on", metavar="[on|off]", required=False, type=click.Choice(["on", "off"]))
@_common
def polite(on: str | None, state: str | None, as_json: bool) -> int:
    """Go slowly while a game is played on this machine, or as fast as it goes again.

    Without on or off it says how it is.
    """
    from lanspread.cli import look

    wanted = None if on is None else on == "on"
    return run_async(look.polite, state_folder(state), as_json, wanted)


@cli.command()
@click.option("--peer", metavar="HOST:PORT", help="Tell what fails on the way to this peer.")
@click.option("--games", metavar="DIR", help="The games folder, if it is not in the settings.")
@click.option("--interface", multiple=True, metavar="IP", help="Look at only these interfaces.")
@_common
def doctor(
    peer: str | None,
    games: str | None,
    interface: tuple[str, ...],
    state: str | None,
    as_json: bool,
) -> int:
    """Look at this machine and its network, and say what is wrong and what to do.

    Needs no running peer, changes nothing, and ends within 10 seconds.
    """
    try:
        if peer is not None:
            parse_host_port(peer)
    except ValueError as error:
        complain(f"--peer: {error}")
        return USAGE
    from lanspread.cli.doctor import doctor as look

    flags = {"games": games, "interface": interface}
    return run_told(look, flags, peer, os.environ, state_folder(state), as_json)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@_common
def completion(shell: str, state: str | None, as_json: bool) -> int:
    """Print what makes SHELL complete commands, options and games.

    bash: eval "$(lanspread completion bash)" in ~/.bashrc; zsh the same in ~/.zshrc; fish:
    lanspread completion fish | source in config.fish.
    """
    from lanspread.cli import output
    from lanspread.cli.completion import script

    text = script(cli, shell)
    output.json_line({"shell": shell, "script": text}) if as_json else output.line(text)
    return DONE


@cli.command()
@_common
def demo(state: str | None, as_json: bool) -> int:
    """Three peers on this machine: find each other, fetch a game from two, compare.

    Works in a temporary folder of its own; --state is ignored.
    """
    from lanspread.cli.demo import run_demo

    return run_async(run_demo, as_json)
