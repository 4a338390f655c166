"""The accounts of this daemon: one per (server, viewer), each with its own channel, cache, journal and budget.

Keys live in memory; those logged in with `store` also in `accounts.json` of the state folder, mode 0600. What an
account remembers without its key (server, viewer, where the key came from) lies there too, so that writes accepted
before a restart know whose they are and whether their key can be found again without the caller. So do fingerprints of
the keys that the server confirmed: who comes with such a key reads what is cached while the server cannot be reached.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from runtapd import faults
from runtapd.upstream import credentials, private_file
from runtapd.upstream.api import Upstream, ViewerData, Wait
from runtapd.upstream.channel import Channel
from runtapd.upstream.credentials import Credentials, KeySource
from runtapd.upstream.features import ServerFeatures
from runtapd.upstream.graphql import GraphQLUpstream
from runtapd.upstream.turns import Turns

FILE_FORMAT = 1
PATIENCE_S = 3.0
"""How long a server is waited for that need not be asked, because it confirmed the key to an earlier daemon."""
_NO_WORD = (faults.UpstreamUnavailable, faults.UpstreamTimeout, faults.RateLimited, faults.InvalidAnswer)
"""The server has said nothing about the key."""
log = logging.getLogger(__name__)


@dataclass
class Account:
    """A login on one server."""

    account_id: str
    base_url: str
    app_url: str
    viewer: ViewerData
    source: KeySource
    place: str = ""
    stored: bool = False
    viewer_at: float = 0.0
    """Unix seconds at which the server last told about the viewer."""
    channel: Channel | None = field(default=None, repr=False)
    upstream: Upstream | None = field(default=None, repr=False)

    @property
    def blocked(self) -> bool:
        """True once the server refused the key; a new Login clears it."""
        return self.channel is not None and self.channel.refused

    @property
    def held_back(self) -> str:
        """What its requests wait for, for people; empty when nothing is held back by the server's limits."""
        return self.channel.turns.held_back() if self.channel else ""

    @property
    def requests_sent(self) -> int:
        """Requests to the server since the daemon started."""
        return self.channel.requests_sent if self.channel else 0


class Accounts:
    """Finds, makes and forgets accounts."""

    def __init__(
        self,
        *,
        state_dir: Path,
        local_home: Path,
        threads: ThreadPoolExecutor,
        version: str,
        learn: Callable[[str], None] = lambda key: None,
        features: ServerFeatures | None = None,
    ) -> None:
        self._features = features or ServerFeatures()
        self._learn = learn
        self._file = state_dir / "accounts.json"
        self._local_home = local_home
        self._threads = threads
        self._user_agent = f"W&B Public Client {version} (runtap)"
        self._accounts: dict[str, Account] = {}
        self._stored_keys: dict[str, str] = {}
        self._by_key: dict[str, str] = {}
        """Whose the keys are that a server has confirmed to this daemon, also when they have logged out since."""
        self._by_key_before: dict[str, str] = {}
        """Whose the keys are that a server has confirmed to earlier daemons."""
        self._turns: dict[str, Turns] = {}
        """By account; kept when it logs out, since the pause a server asked for is not over with that."""
        self._default = ""
        self._logins: dict[str, asyncio.Lock] = {}
        self._saving = asyncio.Lock()
        self._saved = ""
        self.on_login: Callable[[str], None] = lambda account_id: None
        """Called with the account's id after each successful Login; wakes writes that wait for a key."""
        self._load()

    # Reading

    def all(self) -> list[Account]:
        """Returns all known accounts, by server and user."""
        return sorted(self._accounts.values(), key=lambda a: (a.base_url, a.viewer.username))

    @property
    def default_id(self) -> str:
        """The account of calls that name none; empty when there is none."""
        return self._default

    @property
    def local_chosen(self) -> bool:
        """True when the default account is one of the local server on this machine."""
        default = self._accounts.get(self._default)
        return default is not None and self.is_local(default.base_url)

    def is_local(self, base_url: str) -> bool:
        """True for the address of the local server on this machine."""
        found = credentials.local_server(self._local_home)
        return found is not None and found[0] == base_url

    def get(self, account_id: str) -> Account:
        """Returns an account that can be used now; empty means the default. Raises NeedsLogin otherwise."""
        if not account_id and not self._default:
            raise faults.NeedsLogin(
                "this call names no account and there is no default one; call Login, or `runtap login --default`",
                reason="ACCOUNT_UNKNOWN",
            )
        account = self._accounts.get(account_id or self._default)
        if account is None:
            raise faults.NeedsLogin(
                "this account is not known to the daemon; call Login", reason="ACCOUNT_UNKNOWN"
            )
        if account.upstream is None:
            key, place = self._key_on_disk(account)
            if not key:
                raise faults.NeedsLogin(
                    f"the key of {account.viewer.username} for {account.base_url} came with a call to an earlier "
                    "daemon, which kept it in memory only; call Login with it, or have it kept by `runtap login`",
                    reason="ACCOUNT_UNKNOWN",
                    metadata={"server": account.base_url},
                )
            self._connect(account, key, place)
        return account

    async def for_account(self, account_id: str) -> Upstream:
        """Returns the server as this account sees it, without any caller's help; NeedsLogin when that cannot be."""
        account = self.get(account_id)
        if account.blocked or account.upstream is None:
            raise faults.NeedsLogin(
                f"{account.base_url} refused the key of {account.viewer.username}", reason="API_KEY_REJECTED"
            )
        return account.upstream

    def stored_key(self, base_url: str) -> str:
        """Returns a key kept for a server, the default account's or else the one kept last; empty without any."""
        here = [i for i in reversed(self._stored_keys) if self._accounts[i].base_url == base_url]
        here.sort(key=lambda account_id: account_id != self._default)
        return self._stored_keys[here[0]] if here else ""

    # Changing

    async def login(
        self, found: Credentials, wait: Wait, *, store: bool, make_default: bool, verify: bool
    ) -> Account:
        """Makes an account usable. The key is verified at the server once in this daemon's life, or when asked.

        A server that cannot be reached is no obstacle for a key that it confirmed to an earlier daemon, unless the key
        is to be verified or kept.
        """
        fingerprint = _fingerprint(found.base_url, found.api_key)
        # Fifty processes that log in at once with one key are one question to the server.
        async with self._logins.setdefault(fingerprint, asyncio.Lock()):
            account = self._accounts.get(self._by_key.get(fingerprint, ""))
            if account is None or verify or account.blocked or account.upstream is None:
                known = None if verify or store else self._known_before(fingerprint)
                account = await self._verified_or(known, found, fingerprint, wait)
        account.source, account.place = found.source, found.place
        if store:
            self._stored_keys.pop(account.account_id, None)  # the one kept last stands last
            self._stored_keys[account.account_id] = found.api_key
            account.stored = True
        if make_default:
            # Only ever when asked to: calls that name no account must not reach a server by accident.
            self._default = account.account_id
        try:
            await self._save()
        except faults.DiskFull as fault:
            if store or make_default:
                raise
            # The account serves all the same; only the next daemon will not know of it.
            log.warning("accounts are not kept", extra={"error": fault.message})
        self.on_login(account.account_id)
        return account

    async def logout(self, account_id: str) -> bool:
        """Forgets an account and its key; returns whether a stored key was removed."""
        account = self._accounts.pop(account_id or self._default, None)
        if account is None:
            return False
        removed = self._stored_keys.pop(account.account_id, None) is not None
        if self._default == account.account_id:
            self._default = ""
        if account.channel:
            account.channel.log_out()
        await self._save()
        return removed

    def close(self) -> None:
        """Closes all connections."""
        for account in self._accounts.values():
            if account.channel:
                account.channel.close()

    # Inside

    def _known_before(self, fingerprint: str) -> Account | None:
        account = self._accounts.get(self._by_key_before.get(fingerprint, ""))
        return None if account is None or account.blocked else account

    async def _verified_or(
        self, known: Account | None, found: Credentials, fingerprint: str, wait: Wait
    ) -> Account:
        """Asks the server whose the key is; does with what is known of it when the server cannot be asked."""
        if known is None:
            return await self._verified(found, fingerprint, wait)
        patience = wait.no_later_than(asyncio.get_running_loop().time() + PATIENCE_S)
        try:
            return await self._verified(found, fingerprint, patience)
        except _NO_WORD as fault:
            log.info("the key could not be verified again", extra={"error": fault.message})
        if known.upstream is None:
            self._connect(known, found.api_key, found.place)
        self._by_key[fingerprint] = known.account_id
        return known

    async def _verified(self, found: Credentials, fingerprint: str, wait: Wait) -> Account:
        known_id = self._by_key.get(fingerprint, "")
        channel = self._channel(found.base_url, found.api_key, known_id, f"the API key from {found.place}")
        upstream = GraphQLUpstream(channel, features=self._features)
        try:
            viewer = await upstream.viewer(wait)
        except faults.NeedsLogin as error:
            channel.close()
            if error.reason != "API_KEY_REJECTED":  # logged out, while it waited for its turn
                raise
            self._by_key.pop(fingerprint, None)
            self._by_key_before.pop(fingerprint, None)
            elsewhere = found.source not in (KeySource.ARGUMENT, KeySource.STORE)
            there = "replace it there, or remove it there and " if elsewhere else ""
            raise faults.NeedsLogin(
                f"{found.base_url} refused the API key from {found.place}: {there}log in with another one "
                "(`runtap login`)",
                reason="API_KEY_REJECTED",
                metadata={"server": found.base_url, "key_source": found.place},
            ) from error
        upstream.username = viewer.username
        account_id = _account_id(found.base_url, viewer)
        # Another key of the same user is held to the same limits.
        channel.turns = self._turns.setdefault(account_id, channel.turns)
        channel.key_name = f"the API key of {viewer.username} from {found.place}"
        account = self._accounts.get(account_id)
        if account is None:
            account = Account(account_id, found.base_url, found.app_url, viewer, found.source)
            self._accounts[account_id] = account
        elif account.channel:
            channel.requests_sent += account.channel.requests_sent
            if account.blocked:  # whoever still has that key is not to be let in because of the new one
                self._by_key.pop(_fingerprint(account.base_url, account.channel.api_key), None)
            account.channel.close()
        self._by_key[fingerprint] = account_id
        account.app_url, account.viewer, account.viewer_at = found.app_url, viewer, time.time()
        account.channel, account.upstream = channel, upstream
        return account

    def _connect(self, account: Account, key: str, place: str) -> None:
        key_name = f"the API key of {account.viewer.username} from {place}"
        account.channel = self._channel(account.base_url, key, account.account_id, key_name)
        self._turns.setdefault(account.account_id, account.channel.turns)
        account.upstream = GraphQLUpstream(account.channel, account.viewer.username, self._features)

    def _channel(self, base_url: str, key: str, account_id: str, key_name: str) -> Channel:
        self._learn(key)
        turns = self._turns.get(account_id) or Turns(base_url)
        cure = "; `runtap local start` starts it" if self.is_local(base_url) else ""
        return Channel(base_url, key, self._user_agent, self._threads, turns, key_name, cure)

    def _key_on_disk(self, account: Account) -> tuple[str, str]:
        """Returns a key that can be found without the caller, and where it is; empty when there is none."""
        if account.account_id in self._stored_keys:
            return self._stored_keys[account.account_id], credentials.STORE_PLACE
        key = ""
        if account.source is KeySource.NETRC:
            key = credentials.netrc_key(Path(account.place), account.base_url)
        elif account.source is KeySource.SETTINGS:
            key = credentials.settings_key(Path(account.place), account.base_url)
        elif account.source is KeySource.LOCAL_SERVER:
            found = credentials.local_server(self._local_home)
            key = found[1] if found and found[0] == account.base_url else ""
        return key, account.place

    def _load(self) -> None:
        try:
            raw = json.loads(private_file.read(self._file))
            if raw["format"] != FILE_FORMAT:
                return
            entries = [(_read_account(entry), str(entry["api_key"] or "")) for entry in raw["accounts"]]
            before = {
                str(name): str(e["account_id"]) for e in raw["accounts"] for name in e.get("confirmed", ())
            }
            default = str(raw["default"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            # Accounts come back with the next Login; a daemon that does not start helps nobody.
            log.warning("accounts.json cannot be read", extra={"error": type(error).__name__})
            return
        for account, key in entries:
            account.stored = bool(key)
            self._accounts[account.account_id] = account
            if key:
                self._stored_keys[account.account_id] = key
        self._by_key_before = before
        self._default = default

    async def _save(self) -> None:
        async with self._saving:
            text = self._as_text()
            if text != self._saved:
                await asyncio.to_thread(self._write, text)
                self._saved = text

    def _as_text(self) -> str:
        confirmed = {**self._by_key_before, **self._by_key}
        kept = list(self._stored_keys)  # in this order `_load` finds them again
        entries = [
            {
                "account_id": account.account_id,
                "base_url": account.base_url,
                "app_url": account.app_url,
                "viewer": asdict(account.viewer),
                "source": int(account.source),
                "place": account.place,
                "viewer_at": account.viewer_at,
                "api_key": self._stored_keys.get(account.account_id),
                "confirmed": sorted(name for name, whose in confirmed.items() if whose == account.account_id),
            }
            for account in sorted(
                self.all(), key=lambda a: kept.index(a.account_id) if a.account_id in kept else -1
            )
        ]
        return json.dumps({"format": FILE_FORMAT, "default": self._default, "accounts": entries}, indent=1)

    def _write(self, text: str) -> None:
        try:
            private_file.write(self._file, text)
        except OSError as error:
            raise faults.DiskFull(f"cannot write {self._file}: {error.strerror}") from error


def _read_account(entry: dict[str, Any]) -> Account:
    viewer = entry["viewer"]
    if not is_account_id(entry["account_id"]):
        raise ValueError("not an account id")
    return Account(
        account_id=entry["account_id"],
        base_url=str(entry["base_url"]),
        app_url=str(entry["app_url"]),
        viewer=ViewerData(**{**viewer, "teams": tuple(viewer["teams"])}),
        source=KeySource(entry["source"]),
        place=str(entry["place"]),
        viewer_at=float(entry.get("viewer_at", 0.0)),
    )


def _account_id(base_url: str, viewer: ViewerData) -> str:
    digest = hashlib.blake2b(f"{base_url}\n{viewer.id}".encode(), digest_size=8)
    return f"acct-{digest.hexdigest()}"


def is_account_id(text: str) -> bool:
    """True when the text has the form of our account ids, whether or not there is such an account."""
    return re.fullmatch(r"acct-[0-9a-f]{16}", text) is not None


def _fingerprint(base_url: str, key: str) -> str:
    """Names a key without holding it."""
    return hashlib.blake2b(f"{base_url}\n{key}".encode(), digest_size=16).hexdigest()
