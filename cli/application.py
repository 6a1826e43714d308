"""Read a command line, run one command and print its result.

A command is one file, in `commands` or a folder there: the function `run` in commands/run.py, with typed parameters,
returns a CommandResult. Its module is imported when it is called; the list of commands is read from the sources.
"""

import ast
import errno
import functools
import importlib
import inspect
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from evergreen.core.errors import PipelineError, UserError, suggest

PROG = "evergreen"
COMPLETION = f"_{PROG.upper()}_COMPLETE"  # set by the shell that asks for completions
PASSED_ON = ("dvc", "prefect")  # their arguments are those of another command line
ALIASES = {"release": "approve"}  # other names of commands
COMMANDS = (
    *("init", "new", "run", "status", "runs", "logs", "diff", "trace", "forget"),
    *("report", "monitor", "predict", "features"),
    *("serve", "keys", "labels", "approve", "reject", "release", "rollback", "retire", "deploy", "promote", "abort"),
    *("watch", "notify", "install", "backup", "restore", "du", "stop"),
    *("trials", "rerun", "backfill", "simulate", "preflight"),
    *("schema", "quarantine", "catalogue", "check-part", "doctor", "stage", *PASSED_ON),
)
USAGE_ERROR = 2  # exit status
REMEDIES = {  # what the system refuses with → what may help
    **dict.fromkeys((errno.EACCES, errno.EPERM), "make it yours: chown, or chmod u+rwX"),
    errno.EROFS: "mount it for writing, or copy the project elsewhere",
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room and try again: what is finished stays"),
    **dict.fromkeys((errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP), "move it away"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "allow more open files: ulimit -n"),
}
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status, as `main` does, which catches a Ctrl-C outside of the command."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal of other letters shows ? instead of ending the command
    try:
        if words and words[0] in PASSED_ON:
            load_command(words[0])(words[1:])
        app = typer.main.get_command(build_app(words))
        return int(app.main(words or ["--help"], prog_name=PROG, standalone_mode=False) or 0)
    except typer.Abort:  # Ctrl-C or the end of the input at a question
        raise KeyboardInterrupt from None
    except UserError as error:
        message = str(error)
    except OSError as error:
        message = format_os_error(error)
    except TyperException as error:
        message = format_usage_error(error)
    print(f"{PROG}: {message}", file=sys.stderr)
    return USAGE_ERROR


def format_os_error(error: OSError) -> str:
    """Say in one line what the system refuses, at which file, and what may help."""
    if error.errno is None:
        return " ".join(str(error).split())
    place = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    if error.errno == errno.ENOENT and not place:
        return "the working directory no longer exists; change into another one"
    words = f"{place}: {error.strerror}" if place else str(error.strerror)
    return "; ".join(filter(None, [" ".join(words.split()), REMEDIES.get(error.errno, "")]))


def build_app(words: Sequence[str]) -> typer.Typer:
    """Build the application: the command that `words` begin with; without one, of all their names and first lines.

    Raises:
        PipelineError: the first word is neither an option nor a command.
    """
    named = next(iter(words), "")
    if named and not named.startswith("-") and named not in COMMANDS:
        raise PipelineError(f"there is no command {named!r}", fix=suggest(named, COMMANDS, "commands"))
    app = typer.Typer(help="Keep deep-learning models alive.", rich_markup_mode=None)
    app.callback()(_evergreen)
    for name in [named] if named in COMMANDS and COMPLETION not in os.environ else COMMANDS:
        if name == named or COMPLETION in os.environ:
            app.command(name)(_print_result(load_command(name)))
        else:
            app.command(name, help=read_summary(name))(lambda: None)
    return app


def load_command(name: str) -> Callable[..., Any]:
    """Import the function behind a command."""
    path = find_file(name)
    module = ".".join(("evergreen.cli", *path.relative_to(Path(__file__).parent).with_suffix("").parts))
    command: Callable[..., Any] = getattr(importlib.import_module(module), path.stem)
    return command


def find_file(name: str) -> Path:
    """Return the file of a command, in `commands` or a folder there."""
    return next((Path(__file__).parent / "commands").rglob(f"{ALIASES.get(name, name).replace('-', '_')}.py"))


def read_summary(name: str) -> str:
    """Read the first line of a command's docstring without importing its module."""
    path = find_file(name)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    command = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == path.stem)
    return (ast.get_docstring(command) or "").partition("\n")[0]


def format_usage_error(error: TyperException) -> str:
    """Say in one line what is wrong with the options or arguments, with the nearest right option or where help is."""
    context = getattr(error, "ctx", None)
    if context is not None and hasattr(error, "possibilities"):
        options = [option for parameter in context.command.params for option in parameter.opts if option[0] == "-"]
        name = str(getattr(error, "option_name", ""))
        hint = suggest(name, [*options, "--help"], "options")
        return f"{context.command_path} has no option {name}; {hint}"
    message = error.format_message().rstrip(".")
    hint = f"; see {context.command_path} --help" if context is not None else ""
    return " ".join(f"{message[:1].lower()}{message[1:]}{hint}".split())


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"{PROG} {version(PROG)}")
        raise typer.Exit


def _evergreen(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that stand before the command."""


def _print_result(command: Callable[..., Any]) -> Callable[..., int]:
    """Give a command the option --json, print its result, and return its exit status."""
    signature = inspect.signature(command, eval_str=True)

    @functools.wraps(command)
    def printed(*, as_json: bool, **values: Any) -> int:
        result = command(**values)
        text = json.dumps(result.value, ensure_ascii=False, default=str) if as_json else result.text
        try:
            print(text, end="\n" * bool(text), flush=True)
        except BrokenPipeError:  # the reader has seen enough: `evergreen catalogue | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(result.status)

    option = inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=AsJson)
    printed.__signature__ = signature.replace(parameters=[*signature.parameters.values(), option])  # type: ignore[attr-defined]
    return printed
