"""Events as lines for people, pure."""

from __future__ import annotations

from typing import Any

from lanspread.cli import text

_DOING = {
    "install": "installing",
    "update": "updating to",
    "uninstall": "uninstalling",
    "remove": "removing",
}
_DONE = {
    "install": "installed",
    "update": "up to date",
    "uninstall": "uninstalled",
    "remove": "removed",
}
# How many kept files are named to a person; --json has more.
_NAMED = 5
_PAUSES = {
    "user": "paused",
    "no_sources": "waiting: no connected peer has it",
    "disk_full": "waiting: the disk is full",
}


def event_line(event: dict[str, Any]) -> str:
    """One event of `watch`: time, type, and what matters of it."""
    clock = str(event["time"])[11:19]
    return text.clean(f"{clock} {event['type']:<18} {_summary(event['type'], event['data'])}")


def _summary(kind: str, data: dict[str, Any]) -> str:
    if kind.startswith("peer."):
        reason = f": {data['reason']}" if data.get("reason") else ""
        return f"{data['name']} ({data['peer_id']}) {data['state']}{reason}"
    if kind == "library.updated":
        return f"{text.count(len(data['games']), 'game')} of {data['peer_id']}, rev {data['rev']}"
    if kind.startswith("recovery."):
        return f"{data['id']}: {data.get('what') or data.get('why')}"
    if kind == "warning":
        return f"{data['message']}: {data['remedy']}" if data["remedy"] else str(data["message"])
    if "operation_id" in data:
        return f"{data['id']}: {operation_text(kind, data)}"
    return " ".join(f"{name}={value}" for name, value in data.items() if name != "files")


def operation_text(kind: str, data: dict[str, Any]) -> str:
    """What an event of an operation says, without the game's name."""
    area, _, what = kind.partition(".")
    match what:
        case "begin":
            return _begun(area, data)
        case "progress":
            return progress_text(data)
        case "paused":
            needed = data.get("needed_bytes")
            more = f" ({text.size(needed)} more needed)" if needed else ""
            return _PAUSES.get(data["reason"], f"paused: {data['reason']}") + more
        case "resumed":
            return "going on"
        case "finished":
            return _finished(area, data)
        case "failed":
            return f"failed: {data['message']}" + (f" ({data['remedy']})" if data["remedy"] else "")
        case "cancelled":
            return "cancelled"
        case "dropped":
            return f"{data['peer_id']} is left out: {data['reason']}"
    return " ".join(f"{name}={value}" for name, value in data.items())


def progress_text(data: dict[str, Any]) -> str:
    """How far an operation is."""
    total = data["total_bytes"]
    percent = data["done_bytes"] * 100 // total if total else 100
    eta = "" if data["eta_s"] is None else f", {text.duration(data['eta_s'])} left"
    return (
        f"{percent:3d} %  {text.size(data['done_bytes'])} of {text.size(total)}"
        f" at {text.rate(data['rate'])}{eta}"
    )


def _begun(area: str, data: dict[str, Any]) -> str:
    version = f"version {data['version']}" if data["version"] else "unknown version"
    if area != "download":
        return f"{_DOING[area]} {version}"
    if not data["sources"]:
        return f"{version} is here already"
    where = text.count(len(data["sources"]), "peer")
    return f"fetching {text.size(data['total_bytes'])}, {version}, from {where}"


def _finished(area: str, data: dict[str, Any]) -> str:
    if area == "download":
        return _fetched(data)
    done = _DONE[area]
    if area in ("install", "update"):
        done += f": version {data['version']}"
    kept = data.get("kept") or []
    if not kept:
        return f"{done}, in {data['seconds']:.1f} s"
    unnamed = len(kept[_NAMED:]) + (data.get("kept_omitted") or 0)
    more = f" and {unnamed} more" if unnamed else ""
    return f"{done}; kept {', '.join(kept[:_NAMED])}{more}"


def _fetched(data: dict[str, Any]) -> str:
    fetched, seconds = data["bytes_fetched"], data["seconds"]
    if not fetched:
        return f"version {data['version']} is here; nothing had to be fetched"
    speed = f" ({text.rate(fetched / seconds)})" if seconds > 0 else ""
    return f"version {data['version']} is here: {text.size(fetched)} in {seconds:.1f} s{speed}"
