"""The rules of the code base that a reader relies on: who imports whom, and what stays at the edge.

Each failure names the file, the line and the rule. Source: ARCHITECTURE.md.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "lanspread"
MAX_LINES = 500

BASE = {
    "model", "limits", "seams", "identity", "errors", "views", "events", "commands", "config",
    "proof",
}  # fmt: skip
FRONT = {"commands", "config", "errors", "eventhub", "events", "identity", "limits", "model"} | {
    "peer", "platform", "proof", "seams", "views",
}  # fmt: skip

# package or module -> what of lanspread it may import, besides itself
ALLOWED: dict[str, set[str]] = {
    **dict.fromkeys(BASE, BASE),
    "eventhub": BASE,
    "background": BASE,
    "looplag": BASE,
    "fs": BASE,
    "transport": BASE,
    "sync": BASE | {"fs", "transport"},
    "transfer": BASE | {"fs", "transport", "sync"},
    "operations": BASE | {"fs", "sync", "transfer"},
    "merged": BASE | {"fs", "sync", "transfer", "operations"},
    "peer": BASE
    | {"background", "eventhub", "looplag", "merged", "fs", "transport", "sync", "transfer"}
    | {"operations"},
    "platform": BASE | {"fs", "transport"},
    # It walks a peer's ways from outside: the same sockets and handshake, without a peer.
    "doctor": BASE | {"fs", "transport", "sync", "platform"},
    "api": FRONT,
    "cli": FRONT | {"api", "doctor"},
    "__main__": {"cli"},
}
# `testing` may import everything, and nothing imports it.

# module -> the only files that may import it, and why they are the edge
ONLY_IN: dict[str, set[str]] = {
    "asyncio": {"transport/mdns_responder.py"},  # zeroconf's own loop
    "threading": {
        "fs/disk_paths.py",
        "fs/games_folder.py",
        "fs/index.py",
        "fs/download/writer.py",
        "fs/watch.py",
        "testing/faults.py",
        "transport/mdns_responder.py",
    },
    "multiprocessing": set(),
    "concurrent.futures": {"transport/mdns.py", "transport/mdns_responder.py"},
    "time": {"platform.py"},
    "watchfiles": {"fs/watch.py"},
    "socket": {
        "config.py",
        "seams.py",  # the type of what the bulk network gives
        "transport/udp.py",
        # Lanes: threads block in these sockets, so they are the system's own.
        "transport/tcp.py",
        "transport/lane.py",
        "transfer/bulk/doorway.py",
        "transfer/bulk/opening.py",
        # What the doctor asks of the system is how it answers, which the seams hide on purpose.
        "doctor/interfaces.py",
        "doctor/mdns_socket.py",
        "doctor/ports.py",
        "doctor/system.py",
        "doctor/tcp_probe.py",
        "doctor/udp_probe.py",
        "doctor/way.py",
    },
    "zeroconf": {"transport/mdns_responder.py", "doctor/mdns_packets.py"},
    "ifaddr": {"transport/udp.py", "doctor/interfaces.py"},  # the doctor: netmasks
    "sqlite3": {"fs/catalog.py", "fs/index.py"},
    "ctypes": {"fs/sync_disk.py"},
    "fcntl": {"fs/locks.py", "fs/sync_disk.py", "doctor/interfaces.py", "transport/tcp.py"},
    "shutil": {
        "cli/demo_tree.py",
        "doctor/folders.py",  # free space
        "fs/disk_paths.py",
        "testing/games.py",
        "testing/lan.py",
        "testing/peers.py",
    },
    "tempfile": {"cli/demo.py", "testing/lan.py"},
    "subprocess": {"cli/demo_peer.py"},
    "pathlib": {
        "cli/demo.py",
        "cli/demo_peer.py",
        "cli/demo_tree.py",
        "testing/games.py",
        "testing/lan.py",
        "testing/peers.py",
    },
}
# file -> why it may do the system's file work, which elsewhere goes through `seams.Folder`
FILE_WORK: dict[str, str] = {
    "fs/disk.py": "the file system seam",
    "fs/disk_copy.py": "the file system seam",
    "fs/disk_paths.py": "the file system seam",
    "fs/sync_disk.py": "the file system seam",
    "fs/index.py": "the index seam",
    "fs/watch.py": "the watcher seam",
    "fs/state.py": "the state folder, before any seam is open",
    "fs/locks.py": "the state folder's lock",
    "fs/settings_file.py": "writes lanspread.toml, in a thread",
    "fs/catalog.py": "reads the catalog file, in a thread",
    "config.py": "reads lanspread.toml, before the event loop",
    "platform.py": "makes the seams",
    "doctor/folders.py": "only looks, without a peer and its seams",
    "doctor/firewall.py": "looks for traces of firewalls in /etc, /run and /sys",
    "doctor/system.py": "reads the kernel's limits in /proc",
}
FILE_WORK_FOLDERS = ("cli/",)

# Names of `os` that are no file work.
HARMLESS_OS = {
    "PathLike", "cpu_count", "environ", "fsdecode", "fsencode", "fspath", "getpid", "strerror",
    "urandom",
}  # fmt: skip
FORBIDDEN_TRIO = {
    # The doctor's threads only read, and are left behind where `Threads` waits.
    "trio.to_thread": {"platform.py", "fs/watch.py", "doctor/probing.py"},
    "trio.from_thread": {"fs/watch.py"},
    "trio.Path": set[str](),
    "trio.open_file": set[str](),
    "trio.open_process": set[str](),
    "trio.run_process": set[str](),
    # The API's stream: the name of one socket option.
    "trio.socket": {"transport/udp.py", "api/server.py", "api/stream.py"},
    "trio.lowlevel.spawn_system_task": set[str](),
    # A thread that blocks until its socket is shut: trio itself has no way to tell it to end.
    "trio.lowlevel.start_thread_soon": {"platform.py"},
}


def sources(folder: Path = PACKAGE) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def short(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything imported; `from a import b` gives a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative imports hide the direction"
            assert node.module is not None
            yield node.lineno, node.module
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def dotted(node: ast.AST) -> str | None:
    """`a.b.c` of an attribute chain."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return None if before is None else f"{before}.{node.attr}"
    return None


def layer_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0].removesuffix(".py")


def wrong_imports(path: Path, tree: ast.Module) -> list[str]:
    layer = layer_of(path)
    if layer in ("testing", "__init__"):
        return []
    assert layer in ALLOWED, f"{short(path)}: say in ALLOWED what lanspread.{layer} may import"
    wrong = []
    for line, name in imports(tree):
        parts = name.split(".")
        if parts[0] != "lanspread" or len(parts) < 2 or parts[1] == "__version__":
            continue
        if parts[1] != layer and parts[1] not in ALLOWED[layer]:
            wrong.append(f"{short(path)}:{line}: lanspread.{layer} may not import {name}")
    return wrong


def wrong_modules(path: Path, tree: ast.Module) -> list[str]:
    wrong = []
    for line, name in imports(tree):
        for module, files in ONLY_IN.items():
            matches = name == module or name.startswith(f"{module}.")
            if matches and short(path) not in files:
                wrong.append(f"{short(path)}:{line}: only {sorted(files)} may import {module}")
    return sorted(set(wrong))


def wrong_trio(path: Path, tree: ast.Module) -> list[str]:
    names = [
        (node.lineno, dotted(node)) for node in ast.walk(tree) if isinstance(node, ast.Attribute)
    ]
    names += [(line, name) for line, name in imports(tree) if name.startswith("trio.")]
    wrong = []
    for line, name in names:
        for forbidden, files in FORBIDDEN_TRIO.items():
            matches = name is not None and (name == forbidden or name.startswith(f"{forbidden}."))
            if matches and short(path) not in files:
                wrong.append(f"{short(path)}:{line}: {forbidden} belongs behind a seam")
    return sorted(set(wrong))


def wrong_file_work(path: Path, tree: ast.Module) -> list[str]:
    if short(path) in FILE_WORK or short(path).startswith((*FILE_WORK_FOLDERS, "testing/")):
        return []
    wrong = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            name = dotted(node) or ""
            if name.startswith("os.") and name.split(".")[1] not in HARMLESS_OS:
                wrong.append(f"{short(path)}:{node.lineno}: {name}: files go through seams.Folder")
        elif isinstance(node, ast.Call) and dotted(node.func) in ("open", "io.open"):
            wrong.append(f"{short(path)}:{node.lineno}: open(): files go through seams.Folder")
    return wrong


def unbounded_shields(path: Path, tree: ast.Module) -> list[str]:
    """`shield=True` without a deadline in the same call; `scope.shield = True` at all."""
    wrong = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            given = {word.arg: word.value for word in node.keywords}
            shield = given.get("shield")
            shielded = shield is not None and not (
                isinstance(shield, ast.Constant) and shield.value is False
            )
            bounded = "deadline" in given or (dotted(node.func) or "").endswith(
                ("move_on_after", "move_on_at", "fail_after", "fail_at")
            )
            if shielded and not bounded:
                wrong.append(f"{short(path)}:{node.lineno}: a shield without a deadline")
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Attribute) and target.attr == "shield":
                    wrong.append(
                        f"{short(path)}:{node.lineno}: give shield and deadline to CancelScope"
                    )
    return wrong


RULES = [wrong_imports, wrong_modules, wrong_trio, wrong_file_work, unbounded_shields]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_code_keeps_the_rules(rule: object) -> None:
    assert callable(rule)
    wrong = [line for path in sources() for line in rule(path, tree_of(path))]
    assert wrong == [], "\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("rule", "file", "code"),
    [
        (wrong_imports, "fs/x.py", "from lanspread.transport import udp"),
        (wrong_imports, "transport/x.py", "import lanspread.fs.disk"),
        (wrong_imports, "model.py", "from lanspread import peer"),
        (wrong_imports, "sync/x.py", "from lanspread.testing import open_virtual_lan"),
        (wrong_imports, "cli/x.py", "def f():\n    from lanspread.sync import session"),
        (wrong_modules, "sync/x.py", "import time"),
        (wrong_modules, "transfer/x.py", "from socket import AF_INET"),
        (wrong_modules, "fs/scan.py", "import asyncio.events"),
        (wrong_trio, "sync/x.py", "trio.to_thread.run_sync(print)"),
        (wrong_trio, "transfer/x.py", "from trio.lowlevel import spawn_system_task"),
        (wrong_trio, "fs/x.py", "trio.lowlevel.spawn_system_task(f)"),
        (wrong_file_work, "fs/scan.py", "os.stat('x')"),
        (wrong_file_work, "transfer/x.py", "open('x')"),
        (unbounded_shields, "sync/x.py", "trio.CancelScope(shield=True)"),
        (unbounded_shields, "sync/x.py", "trio.CancelScope(shield=flag)"),
        (unbounded_shields, "sync/x.py", "scope.shield = True"),
    ],
)
def test_each_rule_can_fail(rule: object, file: str, code: str) -> None:
    assert callable(rule)
    assert rule(PACKAGE / file, ast.parse(code)) != []


def test_the_lists_name_files_that_exist() -> None:
    named = {*FILE_WORK, *(file for files in ONLY_IN.values() for file in files)}
    named |= {file for files in FORBIDDEN_TRIO.values() for file in files}
    assert sorted(file for file in named if not (PACKAGE / file).is_file()) == []


def test_files_stay_small() -> None:
    folders = (PACKAGE, ROOT / "tests", ROOT / "benchmarks")
    counted = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for folder in folders
        for path in sources(folder)
    }
    assert {name: count for name, count in counted.items() if count > MAX_LINES} == {}


def test_the_mock_clock_is_an_argument() -> None:
    """pytest-trio overlooks a clock that a test does not take as an argument: it runs for real."""
    marker = "usefixtures(" + '"autojump_clock")'
    found = [path.name for path in sources(ROOT / "tests") if marker in path.read_text()]
    assert found == []


_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def pages() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_links_between_the_pages_lead_somewhere() -> None:
    assert (ROOT / "README.md") in pages()
    broken = []
    for page in pages():
        for target in _LINK.findall(page.read_text(encoding="utf-8")):
            if re.match(r"[a-z]+:", target) or target.startswith("#"):
                continue
            if not (page.parent / target.partition("#")[0]).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []
