"""What each command does with its arguments. Its code, and what that imports, is loaded only when it is called."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping

from wainwright_agent.cli.exits import Exit
from wainwright_agent.config import Config


def _run(config: Config, _arguments: Namespace) -> Exit:
    from wainwright_agent.cli.run import run

    return run(config)


def _status(config: Config, arguments: Namespace) -> Exit:
    from wainwright_agent.cli.show import show_status
    from wainwright_agent.cli.watch import watch_status

    return (watch_status if arguments.watch else show_status)(config, arguments.output)


def _check_in(config: Config, arguments: Namespace) -> Exit:
    from wainwright_agent.cli.ask import check_in

    return check_in(config, arguments.timeout, arguments.output)


def _inventory(config: Config, arguments: Namespace) -> Exit:
    from wainwright_agent.cli.ask import send_inventory, show_inventory

    return send_inventory(config, arguments.timeout) if arguments.send else show_inventory(config, arguments.output)


def _show_artifact(config: Config, _arguments: Namespace) -> Exit:
    from wainwright_agent.cli.show import show_artifact

    return show_artifact(config)


def _show_provides(config: Config, arguments: Namespace) -> Exit:
    from wainwright_agent.cli.show import show_provides

    return show_provides(config, arguments.output)


def _install(config: Config, arguments: Namespace) -> Exit:
    from wainwright_agent.cli.hand import install
    from wainwright_agent.spare import Spare

    if arguments.spare is not None:
        return install(config, arguments, arguments.spare)
    with Spare() as spare:
        return install(config, arguments, spare)


def _by_hand(config: Config, arguments: Namespace) -> Exit:
    from wainwright_agent.cli.hand import act

    return act(config, arguments)


def _logs(config: Config, arguments: Namespace) -> Exit:
    from wainwright_agent.cli.logs import list_logs, show_logs

    if arguments.list:
        return list_logs(config, arguments.output)
    return show_logs(config, arguments.number, arguments.output)


def _test(config: Config, arguments: Namespace) -> Exit:
    from wainwright_agent.cli.support import run_tests

    return run_tests(config, arguments.output)


def _diag(config: Config, arguments: Namespace) -> Exit:
    from wainwright_agent.cli.support import write_archive

    return write_archive(config, arguments.to)


def _enrol(config: Config, arguments: Namespace) -> Exit:
    from wainwright_agent.cli.enrol import enrol

    return enrol(config, arguments)


def _config(config: Config, arguments: Namespace) -> Exit:
    from wainwright_agent.cli.configuration import check_config, show_config

    return check_config(config) if arguments.what == "check" else show_config(config, arguments.output)


# fmt: off
COMMANDS: Mapping[str, Callable[[Config, Namespace], Exit]] = {
    "run":           _run,
    "status":        _status,
    "check-in":      _check_in,
    "inventory":     _inventory,
    "show-artifact": _show_artifact,
    "show-provides": _show_provides,
    "install":       _install,
    "commit":        _by_hand,
    "rollback":      _by_hand,
    "resume":        _by_hand,
    "logs":          _logs,
    "test":          _test,
    "diag":          _diag,
    "enrol":         _enrol,
    "config":        _config,
}
# fmt: on
