"""Settings that are changed while the peer runs, and kept for the next start.

Source: docs/api.md, "settings.set".
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from lanspread.commands import SetSettings
from lanspread.config import BYTES_PER_MB, Config
from lanspread.fs.settings_file import Value, save_setting
from lanspread.seams import Threads
from lanspread.transfer.ratelimit import RateLimit
from lanspread.views import SettingsView


class SettingsFile:
    """`lanspread.toml`, changed by one at a time."""

    def __init__(
        self, state_folder: str, threads: Threads, on_warning: Callable[[str, str, str], None]
    ) -> None:
        self._state_folder = state_folder
        self._threads = threads
        self._on_warning = on_warning
        self._turn = trio.Lock()

    async def keep(self, name: str, value: Value) -> None:
        """Have a setting at the next start too; what cannot be written is a warning."""
        try:
            async with self._turn:
                await self._threads.run(save_setting, self._state_folder, name, value)
        except (OSError, ValueError) as error:
            self._on_warning(
                "setting_not_kept",
                f"{name} is changed until the next start only: {error}",
                "repair lanspread.toml in the state folder, or make the folder writable",
            )


class LiveSettings:
    """The settings in use that may be changed."""

    def __init__(self, config: Config, up: RateLimit, down: RateLimit, file: SettingsFile) -> None:
        self.name = config.name
        self._on_renamed: Callable[[], None] = lambda: None
        self._limits = {"max_up": up, "max_down": down}
        self._polite_rates = {"max_up": config.polite_up, "max_down": config.polite_down}
        self._be_polite(config.polite)
        self._file = file
        self.auto_install = config.auto_install

    def when_renamed(self, call: Callable[[], None]) -> None:
        """Have `call` told of every other `name`."""
        self._on_renamed = call

    def view(self, games_dir: str) -> SettingsView:
        """All of them; rates in MB/s, as they are set."""
        return SettingsView(
            name=self.name,
            games_dir=games_dir,
            max_up=_in_mb(self._limits["max_up"]),
            max_down=_in_mb(self._limits["max_down"]),
            auto_install=self.auto_install,
            polite=self._polite,
            polite_up=self._polite_rates["max_up"] / BYTES_PER_MB,
            polite_down=self._polite_rates["max_down"] / BYTES_PER_MB,
        )

    async def change(self, command: SetSettings) -> None:
        """Take over what is given, at once and for the next start.

        Cancelled, it may be in use and not kept.
        """
        if command.name is not None and command.name != self.name:
            self.name = command.name
            self._on_renamed()
        if command.name is not None:
            await self._file.keep("name", command.name)
        for name, limit in self._limits.items():
            rate: float | None = getattr(command, name)
            if rate is not None:
                limit.rate = rate * BYTES_PER_MB or None
                await self._file.keep(name, rate or None)
        if command.auto_install is not None:
            self.auto_install = command.auto_install
            await self._file.keep("auto_install", command.auto_install)
        if command.polite is not None:
            self._be_polite(command.polite)
            await self._file.keep("polite", command.polite)

    def _be_polite(self, polite: bool) -> None:
        """Cap both directions, or not, whatever their own limits are."""
        self._polite = polite
        for name, limit in self._limits.items():
            limit.cap = self._polite_rates[name] if polite else None


def _in_mb(limit: RateLimit) -> float | None:
    return None if limit.rate is None else limit.rate / BYTES_PER_MB
