"""The command line: ``dictco`` or ``python -m dictco_lib``. Parses, and hands over."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dictco_lib.commands import DECLARATIONS
from dictco_lib.commands.common import explain, forget, say, unsaid
from dictco_lib.commands.options import declare_in


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    _print_anything()
    try:
        with _ended_like_interrupts():
            return _run(_parsed(argv))
    except _Ended as end:
        print(f"dictco: ended by {end.signal.name}", file=sys.stderr)
        return 128 + end.signal
    except KeyboardInterrupt:
        print("dictco: interrupted", file=sys.stderr)
        return 130


def _parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = _parser()
    words = sys.argv[1:] if argv is None else argv
    if "" in words:  # "" would be the folder that the user happens to be in
        parser.error("an argument is empty, as from a variable of the shell that is not set")
    args, rest = parser.parse_known_args(words)
    is_list = isinstance(getattr(args, "input", None), list)
    are_names = not any(text.startswith("-") and text != "-" for text in rest)
    if is_list and are_names:
        # argparse takes names in one piece: not those behind an option, as in a b --quality 9 out/
        *args.input, args.output = [*args.input, args.output, *rest]
    elif hasattr(args, "names") and are_names:
        args.names = [*args.names, *rest]
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return args


def _run(args: argparse.Namespace) -> int:
    error: Exception | None = None
    try:
        args.run(args)
    except BrokenPipeError:  # whoever reads has seen enough
        forget(sys.stdout)
    except Exception as found:
        error = found
    lost = unsaid()  # in any case, for a stream that is full is forgotten then
    if error := error or lost:
        say(f"dictco: error: {explain(error, args.debug)}", sys.stderr)
        unsaid()
    return 1 if error else 0


class _Ended(KeyboardInterrupt):
    """A signal that ends the process, as an interrupt from the keyboard does: tidily."""

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)


@contextmanager
def _ended_like_interrupts() -> Iterator[None]:
    """Let SIGTERM, and SIGHUP of a closed terminal, run the ``finally`` blocks."""

    def end(number: int, frame: object) -> None:
        raise _Ended(number)

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    mine = threading.current_thread() is threading.main_thread()
    numbers = [getattr(signal, name) for name in names] if mine else []
    numbers = [n for n in numbers if signal.getsignal(n) == signal.SIG_DFL]  # nohup ignores
    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _print_anything() -> None:
    """A name that the terminal's encoding lacks is printed escaped, and stops nothing.

    Nor does a stream that was closed before the start (``>&-``), which Python makes None.
    """
    # Their numbers must not fall to a file of ours: what keeps libraries quiet redirects them.
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(handle)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 (as long as the process)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dictco",
        description="Dictionary-based learned image compression: photo to file and back.",
        epilog="examples:\n"
        "  dictco compress photo.jpg photo.dco --quality 60\n"
        "  dictco decompress photo.dco photo.png\n"
        "  dictco inspect photo.dco\n"
        "  dictco evaluate my_photos/ --out report.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command = declare_in(parser.add_subparsers(dest="command", required=True, metavar="COMMAND"))
    for declare in DECLARATIONS:
        declare(command)
    return parser
