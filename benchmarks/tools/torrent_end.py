"""One end of a torrent, run by the Python that has libtorrent; needs nothing else.

    torrent_end.py seed FOLDER TORRENT
    torrent_end.py fetch TORRENT TARGET PORT

Both print a line of JSON when they are ready. `seed` hashes FOLDER, writes TORRENT and serves it
until its standard input ends. `fetch` begins when a line comes, says when everything is written,
and ends when its standard input does.
"""

import json
import os
import sys
import time

import libtorrent as lt  # type: ignore[import-not-found]

SETTINGS = {
    "listen_interfaces": "127.0.0.1:0",
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "out_enc_policy": int(lt.enc_policy.disabled),
    "in_enc_policy": int(lt.enc_policy.disabled),
    "allow_multiple_connections_per_ip": True,
    "alert_mask": int(lt.alert.category_t.status_notification)
    | int(lt.alert.category_t.storage_notification),
}


def say(**values: object) -> None:
    print(json.dumps(values), flush=True)


def seed(folder: str, torrent: str) -> None:
    files = lt.file_storage()
    lt.add_files(files, folder)
    # Version 1 alone: the cheaper hashes and what most torrents are.
    made = lt.create_torrent(files, flags=lt.create_torrent.v1_only)
    lt.set_piece_hashes(made, os.path.dirname(folder))
    with open(torrent, "wb") as file:
        file.write(lt.bencode(made.generate()))
    session = lt.session(SETTINGS)
    added = lt.add_torrent_params()
    added.ti = lt.torrent_info(torrent)
    added.save_path = os.path.dirname(folder)
    added.flags |= lt.torrent_flags.seed_mode
    added.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    session.add_torrent(added)
    say(port=session.listen_port())
    sys.stdin.read()


def fetch(torrent: str, target: str, port: int) -> None:
    session = lt.session(SETTINGS)
    added = lt.add_torrent_params()
    added.ti = lt.torrent_info(torrent)
    added.save_path = target
    added.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    say(ready=True)
    sys.stdin.readline()
    began = time.monotonic()
    handle = session.add_torrent(added)
    handle.connect_peer(("127.0.0.1", port))
    wait_for(session, lt.torrent_finished_alert)
    handle.flush_cache()
    wait_for(session, lt.cache_flushed_alert)
    say(seconds=time.monotonic() - began)
    sys.stdin.read()


def wait_for(session: "lt.session", kind: type) -> None:
    while True:
        session.wait_for_alert(1_000)
        for alert in session.pop_alerts():
            if isinstance(alert, kind):
                return
            if isinstance(alert, (lt.torrent_error_alert, lt.file_error_alert)):
                raise SystemExit(alert.message())


if __name__ == "__main__":
    if sys.argv[1] == "seed":
        seed(sys.argv[2], sys.argv[3])
    else:
        fetch(sys.argv[2], sys.argv[3], int(sys.argv[4]))
