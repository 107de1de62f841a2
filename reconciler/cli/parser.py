"""The words of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from reconciler import __version__
from reconciler.cli.forms import OUTPUTS

_EXITS = """exit status:
  0   desired and observed agree (after what was applied); plan, diff: no
      difference
  1   something failed, is not healthy, or was rolled back
  2   differences remain: plan or diff found some, or a pass was not allowed to
      apply them
  3   the input is not valid: desired state, agent's file, options; nothing of
      it was applied
  75  another pass holds the lock

At three in the morning: `reconcile status`, and `reconcile help trouble`."""


COMMANDS = {
    "plan": "what a pass would do; changes nothing",
    "apply": "carry a plan out; a saved one only against the state that it was made from",
    "diff": "what a change of the repo would do to every site and environment, without access to them",
    "status": "what runs, its version, its health, since when",
    "logs": "what a service has written: the files or the journal of its launcher",
    "history": "what the passes on this host have done, newest first",
    "show": "all of one pass: its steps, how long each took, and what failed with its output",
    "validate": "check a desired-state repo, all errors at once",
    "explain": "each effective value of a service, the file and line that set it, and what each layer says",
    "blame": "each effective value of a service, and the commit that wrote it",
    "schema": "a JSON Schema of the layer files, for an editor",
    "cleanup": "when the rules for scratch folders come; remove now what they say, or list it",
    "bump": "prepare another version of a component, as a commit on a branch",
    "promote": "prepare the versions of one environment for another, as a commit on a branch",
    "rollback": "prepare the way back to an earlier state, as a commit on a branch",
    "schedule": "have `reconcile --once` run every few minutes, tell whether that stands, end it",
    "pause": "leave a deployment, or one service of it, as it is, for a time",
    "resume": "end what `reconcile pause` has paused",
    "approve": "let exactly the plan through that waits for approval; without an id, list what waits",
    "notify": "send a test message to whom `notify` in the agent's file names, and tell what waits",
    "doctor": "look beforehand at everything that a pass needs of this host; changes nothing",
    "adopt": "write desired state for what runs by hand, which leaves it running as it is",
    "demo": "the whole story on this machine in a minute, on a supervisord of its own",
    "help": "a page of the manual; without a word, what pages there are",
}


class UsageError(Exception):
    """The command line itself is not valid; exit status 3."""


class _Parser(argparse.ArgumentParser):
    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)  # a script's shortened word may mean another one tomorrow

    def error(self, message: str) -> NoReturn:
        raise UsageError(_in_words(message, self.prog))


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Raises `UsageError`; `SystemExit` for --help and --version."""
    argv = _joined(argv)
    if not argv or {"-h", "--help", *COMMANDS} & set(argv):
        return _parsed(argv)
    try:
        # The call of every cron line. To set up the commands as well would take longer than the pass itself.
        return _plain(_shared()).parse_args(argv, argparse.Namespace(command=None))
    except UsageError:
        return _parsed(argv)  # it knows the commands, and so says better what is wrong


def _parsed(argv: Sequence[str]) -> argparse.Namespace:
    parser, commands = _whole()
    options, left = parser.parse_known_args(argv)
    if not left:
        return options
    own = commands[options.command] if options.command else parser
    if not left[0].startswith("-"):
        raise UsageError(f"`{left[0]}` is one word too many\n    see: {own.prog} --help")
    import re

    hint = _meant(left[0], re.findall(r"--[a-z][a-z-]*", own.format_help()), f"see: {own.prog} --help")
    raise UsageError(f"there is no option `{left[0]}`\n    {hint}")


def _in_words(message: str, prog: str) -> str:
    """What argparse complains of, as people would say it, and what was probably meant."""
    import re

    see = f"see: {prog} --help"
    if found := re.fullmatch(r"argument (.+?): invalid choice: '(.*)' \(choose from (.*)\)", message, re.DOTALL):
        place, word, choices = found.groups()
        known = re.findall(r"[a-z][a-z-]*", choices)
        if place == "COMMAND":
            return f"there is no command `{word}`\n    {_meant(word, known, f'`{prog} --help` lists them')}"
        option = place.rpartition("/")[2]
        said = f"{option} cannot be" if option.startswith("-") else f"{prog.rpartition(' ')[2]}: there is no"
        return f"{said} `{word}`\n    {_meant(word, known, 'one of: ' + ', '.join(known))}"
    if found := re.fullmatch(r"argument (.+?): expected .*", message):
        return f"{found[1].rpartition('/')[2]} has no value\n    {see}"
    if found := re.fullmatch(r"the following arguments are required: (.*)", message):
        return f"{found[1]} {'are' if ',' in found[1] else 'is'} missing\n    {see}"
    return f"{message}\n    {see}"


def _meant(word: str, known: Sequence[str], otherwise: str) -> str:
    from reconciler.desired.problems import nearest

    found = nearest(word, known)
    return f"did you mean `{found}`?" if found else otherwise


def _joined(argv: Sequence[str]) -> list[str]:
    """With `--scron --qos=cron` as one word: argparse takes the second for an option of ours."""
    joined: list[str] = []
    for word in argv:
        if joined and joined[-1] == "--scron":
            joined[-1] = f"--scron={word}"
        else:
            joined.append(word)
    return joined


def _plain(shared: _Parser) -> _Parser:
    """What stands without a command."""
    parser = _Parser(
        prog="reconcile",
        description="Keeps the services of a site at what a git repo says.\n"
        "Without a command it makes a pass every 5 minutes until it is ended;\n"
        "with --once it makes a single one, as cron and timers have it.",
        epilog=_EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[shared],
    )
    parser.add_argument("--version", action="version", version=f"reconcile {__version__}")
    parser.add_argument("--once", action="store_true", help="one pass: fetch, plan, apply, report")
    parser.add_argument("--interval", metavar="TIME", help="between two passes of the loop (default 5m)")
    _accept_rewind(parser)
    _ignore_windows(parser)
    return parser


def _whole() -> tuple[_Parser, Mapping[str, argparse.ArgumentParser]]:
    """With the parsers of the commands."""
    shared = _shared()
    parser = _plain(shared)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    made: dict[str, argparse.ArgumentParser] = {}

    def command(name: str) -> argparse.ArgumentParser:
        said = COMMANDS[name]
        made[name] = commands.add_parser(name, help=said, description=said, parents=[shared])
        return made[name]

    plan = command("plan")
    _output(plan)
    plan.add_argument("--out", metavar="FILE", help="save the plan, for `reconcile apply FILE`")
    _accept_rewind(plan)
    _ignore_windows(plan)
    apply = command("apply")
    _output(apply)
    apply.add_argument("file", nargs="?", metavar="FILE", help="a plan saved with `reconcile plan --out`")
    _accept_rewind(apply)
    _ignore_windows(apply)
    diff = command("diff")
    diff.add_argument(
        "range", metavar="A..B", help="two revisions of the desired-state repo; A alone: with the work tree"
    )
    diff.add_argument("-p", "--patch", action="store_true", help="every line of every rendered file that changes")
    _output(diff)
    _output(command("status"))
    logs = command("logs")
    logs.add_argument("service", metavar="SERVICE", help="as `status` lists it, or supervisord, slurm-job")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C, through restarts and rotation")
    logs.add_argument(
        "-n", "--lines", type=_lines, default=100, metavar="N", help="only the last N, or `all` (default: 100)"
    )
    validate = command("validate")
    validate.add_argument("path", nargs="?", default=".", metavar="PATH", help="a folder with desired/ (default: here)")
    for word in ("explain", "blame"):
        values = command(word)
        values.add_argument("service", metavar="SERVICE", help="or cleanup.RULE")
        values.add_argument("key", nargs="?", metavar="KEY", help="only this key, such as version or env.LC_ALL")
    command("schema")
    cleanup = command("cleanup")
    cleanup.add_argument("rule", nargs="?", metavar="RULE", help="this one of `cleanup` in git")
    cleanup.add_argument("--all", action="store_true", help="each of them")
    listed = "list each entry that would go by itself, with all below it; nothing is removed"
    cleanup.add_argument("--dry-run", action="store_true", help=listed)
    history = command("history")
    history.add_argument("service", nargs="?", metavar="SERVICE", help="only passes that have changed it")
    history.add_argument(
        "-n", "--lines", type=_lines, default=20, metavar="N", help="only the last N, or `all` (default: 20)"
    )
    command("show").add_argument("run", nargs="?", metavar="RUN", help="how its name begins (default: the last one)")
    _propose(command)
    _schedule(command("schedule"))
    _pause(command("pause"))
    command("resume").add_argument("service", nargs="?", metavar="SERVICE", help="only this one (default: all)")
    _approve(command("approve"))
    command("notify").add_argument("receiver", nargs="?", metavar="RECEIVER", help="only this one (default: all)")
    command("doctor")
    _adopt(command("adopt"))
    command("help").add_argument("topic", nargs="?", metavar="TOPIC", help="a page, a title in one, or a command")
    demo = command("demo")
    demo.add_argument("--keep", action="store_true", help="leave the demo running, and say how to look at it")
    return parser, made


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", choices=OUTPUTS, default="text", help="the form of the answer (default: text); --json is json"
    )


_BACK_TO = "what to go back to (default: the last commit at which it was another one)"


def _propose(command: Callable[[str], argparse.ArgumentParser]) -> None:
    """They share --repo, a checkout here, and --branch, which names the branch that is made."""
    bump = command("bump")
    bump.add_argument("component", metavar="COMPONENT", help="of `components` in git; a service names its own there")
    bump.add_argument("version", metavar="VERSION", help="that it gets")
    promote = command("promote")
    promote.add_argument("components", nargs="+", metavar="COMPONENT", help="of `components` in git")
    promote.add_argument("--from", dest="source", required=True, metavar="ENV", help="whose version is taken")
    promote.add_argument("--to", dest="target", required=True, metavar="ENV", help="that gets it")
    rollback = command("rollback")
    rollback.add_argument("target", metavar="SERVICE|ENVIRONMENT", help="what is set back, as git names it")
    rollback.add_argument("--to", metavar="COMMIT", help=_BACK_TO)
    for parser in (bump, promote, rollback):
        parser.add_argument("--dry-run", action="store_true", help="only show what would be committed")


def _schedule(parser: argparse.ArgumentParser) -> None:
    """What is not given stays as it is installed."""
    parser.add_argument("action", choices=("install", "status", "remove"))
    parser.add_argument(
        "--with", dest="kind", choices=("systemd", "cron", "scrontab"), help="default: the first that can be used here"
    )
    parser.add_argument("--every", metavar="TIME", help="default: the agent's `interval`")
    parser.add_argument(
        "--scron", action="append", metavar="OPTION", help="of the site, as for sbatch: --scron --qos=cron; repeatable"
    )


def _adopt(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=("supervisor", "systemd"), help="what runs it now")
    what = "CONF of its supervisord, and perhaps PROGRAMS of it; or UNITS of systemd"
    parser.add_argument("what", nargs="*", metavar="WHAT", help=what)
    parser.add_argument("--out", metavar="FOLDER", help="a work tree of the desired-state repo (default: --repo)")
    parser.add_argument("--root", metavar="FOLDER", help="`paths.root` of the deployment, where no layer says it")
    parser.add_argument(
        "--as",
        dest="names",
        action="append",
        metavar="PROGRAM=SERVICE",
        help="which service of git a program is, where their names differ; repeatable",
    )
    differing = (
        "what becomes of a service that runs otherwise than git says: it waits, as it runs, until the restart is "
        "approved (default); it is kept until git changes it; or git is made to say what runs"
    )
    parser.add_argument("--differing", choices=("wait", "keep", "write"), default="wait", help=differing)
    parser.add_argument("--dry-run", action="store_true", help="print the layers, and write nothing")


def _pause(parser: argparse.ArgumentParser) -> None:
    """How long is no question of taste: without an end it would be forgotten."""
    parser.add_argument("service", nargs="?", metavar="SERVICE", help="only this one (default: the whole deployment)")
    parser.add_argument(
        "--for", dest="span", required=True, metavar="TIME", help="90s, 30m, 2h, 3d; at most 7d. Then it goes on"
    )
    parser.add_argument("--reason", required=True, metavar="TEXT", help="shown in every report, with who and where")


def _approve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", nargs="?", metavar="ID", help="of the plan, or its beginning (default: list what waits)")
    parser.add_argument("--reason", metavar="TEXT", default="", help="kept with who approved it, from where and when")
    parser.add_argument("--show", action="store_true", help="only show it, with what has changed since it was made")


def _lines(text: str) -> int | None:
    """None for all of them."""
    if text != "all" and not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"`{text}` is neither a number of lines nor `all`")
    return None if text == "all" else int(text)


def _accept_rewind(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--accept-rewind", action="store_true", help="follow a branch that was rewound or force-pushed, this once"
    )


def _ignore_windows(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ignore-windows", action="store_true", help="do what policy.windows holds now, this once")


_ENVIRONMENT = "only this one; may be repeated (default: all that the site has)"
_CONFIG = "the agent's file (default: $RECONCILE_CONFIG, or ~/.config/reconcile/agent.yaml)"


def _shared() -> _Parser:
    """Options that stand before or after the command. None of them has a default here, so that the later one wins."""
    parser = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    group = parser.add_argument_group("what and where (each can stand in the agent's file)")
    group.add_argument("--config", metavar="FILE", help=_CONFIG)
    group.add_argument("--repo", metavar="URL", help="the desired-state repo: https, ssh, git, file, or a path")
    group.add_argument("--branch", help="the branch to follow (default: main); or that a commit is made on")
    group.add_argument("--site", help="which site of the repo this host is")
    group.add_argument("--environment", dest="environments", action="append", metavar="ENV", help=_ENVIRONMENT)
    group.add_argument("--state-dir", metavar="DIR", help="where to remember (default: ~/.local/state/reconcile)")
    group.add_argument("--timeout", metavar="TIME", help="of each call of git (default 60s)")
    group.add_argument("--max-staleness", metavar="TIME", help="exit 1 when the repo was out of reach longer (24h)")
    parser.add_argument("--json", action="store_true", help="JSON on standard output, for machines")
    return parser
