"""Firefox, driven by WebDriver BiDi: as much of the protocol as looking at a page takes.

Source: WebDriver BiDi (W3C), sections 7.1 to 7.6.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import WebSocketConnection, open_websocket_url

_START_S = 60.0
_ANSWER_S = 30.0
_END_S = 10.0
_MAX_MESSAGE_BYTES = 16 * 1024 * 1024
# Nothing but loopback is reached: all else is sent to a proxy that is not there.
_PREFERENCES = """
user_pref("network.proxy.type", 1);
user_pref("network.proxy.http", "127.0.0.1");
user_pref("network.proxy.http_port", 9);
user_pref("network.proxy.ssl", "127.0.0.1");
user_pref("network.proxy.ssl_port", 9);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("app.update.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
"""
# The console does not get to hear of these by way of the protocol.
_LISTEN = """() => {
  window.complaints = [];
  const note = (text) => window.complaints.push(text);
  document.addEventListener("securitypolicyviolation",
    (event) => note(`policy: ${event.effectiveDirective} ${event.blockedURI}`));
  window.addEventListener("error", (event) => note(`error: ${event.message}`));
  window.addEventListener("unhandledrejection", (event) => note(`rejected: ${event.reason}`));
}"""


def firefox() -> str:
    """The system's Firefox. A test without it is skipped loudly, and fails in CI."""
    found = shutil.which("firefox-esr") or shutil.which("firefox")
    if found is not None:
        return found
    reason = "no Firefox here; scripts/system-packages installs it"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(f"NOT TESTED, {reason}")


class Tab:
    """A page in Firefox. `logged`: what it wrote into its console as a warning or an error."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self.logged: list[str] = []
        self._socket = socket
        self._context = ""
        self._last_id = 0

    async def open(self) -> None:
        await self._call("session.new", capabilities={})
        await self._call("session.subscribe", events=["log.entryAdded"])
        await self._call("script.addPreloadScript", functionDeclaration=_LISTEN)
        self._context = (await self._call("browsingContext.create", type="tab"))["context"]

    async def goto(self, url: str) -> None:
        """Open an address; returns when the page and its scripts are loaded."""
        await self._call(
            "browsingContext.navigate", context=self._context, url=url, wait="complete"
        )

    async def reload(self) -> None:
        await self._call("browsingContext.reload", context=self._context, wait="complete")

    async def evaluate(self, expression: str) -> Any:
        """The value of JavaScript, awaited if it is a promise; texts, numbers and truths only."""
        found = await self._call(
            "script.evaluate",
            expression=expression,
            target={"context": self._context},
            awaitPromise=True,
        )
        assert found["type"] == "success", found
        return found["result"].get("value")

    async def wait(self, condition: str) -> None:
        """Until JavaScript finds something; looked at in every frame."""
        done = await self.evaluate(
            f"""new Promise((done) => {{
              const give_up = performance.now() + 20000;
              const look = () => {{
                if ({condition}) done(true);
                else if (performance.now() > give_up) done(false);
                else requestAnimationFrame(look);
              }};
              look();
            }})"""
        )
        if not done:
            page = await self.evaluate("document.body.innerText")
            raise AssertionError(f"it did not come about: {condition}\n{page}")

    async def complaints(self) -> list[str]:
        """What broke the page's policy, what it threw and what it logged, since it was loaded."""
        told: list[str] = json.loads(await self.evaluate("JSON.stringify(window.complaints)"))
        return told + self.logged

    async def close(self) -> None:
        await self._call("browser.close")

    async def _call(self, method: str, **params: Any) -> Any:
        self._last_id += 1
        call = {"id": self._last_id, "method": method, "params": params}
        with trio.fail_after(_ANSWER_S):
            await self._socket.send_message(json.dumps(call))
            while True:
                message = json.loads(await self._socket.get_message())
                if message.get("id") == self._last_id:
                    assert message["type"] == "success", message
                    return message["result"]
                self._note(message)

    def _note(self, message: Any) -> None:
        if message.get("method") == "log.entryAdded":
            entry = message["params"]
            if entry["level"] in ("error", "warn"):
                self.logged.append(f"{entry['level']}: {entry['text']}")


@asynccontextmanager
async def open_tab(folder: Path) -> AsyncIterator[Tab]:
    """A page in a Firefox of its own, whose profile is in `folder`, until the block is left."""
    (folder / "user.js").write_text(_PREFERENCES)
    command = [firefox(), "--headless", "--no-remote", "--profile", str(folder)]
    process = await trio.lowlevel.open_process(
        [*command, "--remote-debugging-port", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "HOME": str(folder), "MOZ_CRASHREPORTER_DISABLE": "1"},
    )
    # Asked for at the end of the block; after an error it is made to.
    is_closing = False
    try:
        async with trio.open_nursery() as nursery:
            url = await nursery.start(_follow, process)
            async with open_websocket_url(
                f"{url}/session", max_message_size=_MAX_MESSAGE_BYTES
            ) as socket:
                tab = Tab(socket)
                await tab.open()
                yield tab
                await tab.close()
                is_closing = True
            nursery.cancel_scope.cancel()
    finally:
        if not is_closing:
            process.terminate()
        with trio.move_on_after(_END_S) as scope:
            scope.shield = True
            await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _follow(
    process: trio.Process, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    """Tell where it listens, and read what else it has to say, lest it wait for that."""
    assert process.stderr is not None
    said = b""
    with trio.fail_after(_START_S):
        while not (found := re.search(rb"WebDriver BiDi listening on (ws://\S+)\s", said)):
            part = await process.stderr.receive_some()
            assert part, said.decode(errors="replace")
            said += part
    task_status.started(found[1].decode())
    while await process.stderr.receive_some():
        pass
