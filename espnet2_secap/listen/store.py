"""The database of `sec_listen serve`: listeners with their tokens, and their answers (SQLite)."""

import os
import secrets
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

from espnet2_secap.errors import SecError
from espnet2_secap.listen.answers import Answer, Sheet
from espnet2_secap.listen.design import Design

VERSIONS = 50  # of one answer; a person changes an answer a few times
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS listeners (token TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, grp INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS answers (
    token TEXT NOT NULL REFERENCES listeners (token), item TEXT NOT NULL, version INTEGER NOT NULL,
    emotion INTEGER NOT NULL, match INTEGER, score INTEGER NOT NULL, seconds REAL NOT NULL, plays INTEGER NOT NULL,
    at INTEGER NOT NULL, received REAL NOT NULL, PRIMARY KEY (token, item, version)
);
"""
_LAST = "SELECT item, emotion, match, score, seconds, plays, at, MAX(version) FROM answers WHERE token = ?"


class Refused(SecError):
    """An answer that is not stored."""


class Store:
    """Answers that are on the disk when `put` returns: neither kill -9 nor a power cut loses them.

    An answer that is sent again is stored once; a changed one is a new version, and the last version counts.

    Args:
        path: of the database; it is made if it does not exist and `make` is true.
        design: of the test.

    Raises:
        SecError: no such file, not such a database, or one of another design.
    """

    def __init__(self, path: str | Path, design: Design, make: bool = False):
        self.path, self.design = Path(path), design
        if not make and not self.path.is_file():
            raise SecError(f"{path}: does not exist; run sec_listen serve, or give files as --answers")
        self._lock = threading.Lock()
        with self._named():
            if make:
                os.close(os.open(path, os.O_CREAT, 0o600))  # tokens are nobody else's business
            self._sql = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            self._sql.execute("PRAGMA journal_mode = WAL")
            self._sql.execute("PRAGMA synchronous = FULL")
            self._sql.executescript(_TABLES)
            self._sql.execute("INSERT OR IGNORE INTO meta VALUES ('design', ?)", (design.id,))
            (found,) = self._sql.execute("SELECT value FROM meta WHERE name = 'design'").fetchone()
        if found != design.id:
            self.close()
            raise SecError(
                f"{path}: is of another design ({found}, here {design.id}); move it away, or restore its pages"
            )

    def close(self) -> None:
        """Close the database."""
        self._sql.close()

    def add_listeners(self, count: int) -> list[tuple[str, int, str]]:
        """See that there are at least `count` listeners, dealt evenly to the groups; those that are there stay.

        Returns:
            name, group and token of each.
        """
        with self._lock, self._named(), self._transaction():
            there = self._sql.execute("SELECT name, grp FROM listeners").fetchall()
            sizes = Counter(dict.fromkeys(range(1, len(self.design.groups) + 1), 0))
            sizes.update(group for _, group in there)
            for number in range(len(there) + 1, count + 1):
                group = min(sizes, key=lambda one: (sizes[one], one))
                sizes[group] += 1
                row = (secrets.token_urlsafe(18), f"listener_{number:03}", group)
                self._sql.execute("INSERT INTO listeners VALUES (?, ?, ?)", row)
        return self.listeners()

    def listeners(self) -> list[tuple[str, int, str]]:
        """Name, group and token of each."""
        with self._lock, self._named():
            return self._sql.execute("SELECT name, grp, token FROM listeners ORDER BY name").fetchall()

    def listener(self, token: str) -> tuple[str, int] | None:
        """Name and group, or None if nobody has this token."""
        with self._lock, self._named():
            return self._sql.execute("SELECT name, grp FROM listeners WHERE token = ?", (token,)).fetchone()

    def put(self, token: str, answers: Sequence[Answer]) -> int:
        """Store answers of a listener, all or none.

        Returns:
            how many were new or changed.

        Raises:
            Refused: an answer has been changed too often.
            SecError: the database cannot be written.
        """
        stored = 0
        with self._lock, self._named(), self._transaction():
            for one in answers:
                known = self._sql.execute(
                    "SELECT version, emotion, match, score FROM answers WHERE token = ? AND item = ? "
                    "ORDER BY version DESC LIMIT 1",
                    (token, one.item),
                ).fetchone()
                version = known[0] + 1 if known else 1
                if known and known[1:] == (one.emotion, one.match, one.score):
                    continue
                if version > VERSIONS:
                    raise Refused(f"item {one.item}: has been changed {VERSIONS} times; the last answer stays")
                row = (token, one.item, version, *list(vars(one).values())[1:], time.time())
                self._sql.execute(f"INSERT INTO answers VALUES ({', '.join('?' * len(row))})", row)
                stored += 1
        return stored

    def answers(self, token: str) -> list[Answer]:
        """The last version of each answer of a listener."""
        with self._lock, self._named():
            rows = self._sql.execute(f"{_LAST} GROUP BY item ORDER BY item", (token,)).fetchall()
        return [
            Answer(item, bool(emotion), None if match is None else bool(match), *rest[:-1])
            for item, emotion, match, *rest in rows
        ]

    def sheets(self) -> list[Sheet]:
        """The answers of every listener who has given any."""
        found = [
            Sheet(name, group, {one.item: one for one in self.answers(token)}, name, f"{self.path}: {name}")
            for name, group, token in self.listeners()
        ]
        return [sheet for sheet in found if sheet.answers]

    @contextmanager
    def _transaction(self):
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._sql.execute("ROLLBACK")
            raise
        self._sql.execute("COMMIT")

    @contextmanager
    def _named(self):
        try:
            yield
        except sqlite3.Error as err:
            raise SecError(
                f"{self.path}: {err}; is it a database of sec_listen serve, and its disk writable?"
            ) from None
