"""Somebody with a password, and ways to look at what is stored of them."""

from __future__ import annotations

from typing import Any

from argon2 import PasswordHasher
from attrs import evolve
from twisted.internet.defer import Deferred

from tests.admin.support import NOW, AdminCase, user
from voidllm.auth.passwords import Passwords
from voidllm.store.statements import Op, Rows, q

#: The settings of the shipped one would take longer than all else in a test.
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSWORD = "correct horse battery staple"


def query(sql: str, *params: Any) -> Op[Rows]:
    """Run one statement."""
    return (yield q(sql, *params))


class IdentityCase(AdminCase):
    """An :class:`AdminCase` with a clock to turn and Ada, a member of ``self.org`` who has a password.

    :ivar now_ms: the wall time.
    """

    async def _set_up(self) -> None:
        await super()._set_up()
        self.now_ms = NOW
        self.world = evolve(self.world, wall_ms=lambda: self.now_ms)
        self.context = evolve(self.context, world=self.world, passwords=Passwords(self.world, CHEAP))
        self.email = "Ada@example.org"
        self.ada = await self.store.create_user(
            user(email=self.email, name="Ada", password_hash=CHEAP.hash(PASSWORD)), self.org.id, "member"
        )
        self.users["ada"] = self.ada.id

    def later(self, **spans: float) -> None:
        """Turn the clock on; ``seconds``, ``minutes``, ``hours`` or ``days``."""
        sizes = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86_400}
        self.now_ms += int(sum(sizes[name] * number for name, number in spans.items()) * 1000)

    async def log_in(
        self, email: str | None = None, password: str = PASSWORD, headers: Any = None, **more: Any
    ) -> tuple[int, dict[str, str], Any]:
        """Log in as Ada, unless it is said otherwise."""
        body = {"email": email or self.email, "password": password, **more}
        return await self.call("POST", "/api/v1/auth/login", body, who=None, **(headers or {}))

    async def session(self, name: str = "ada", **more: Any) -> Any:
        """Log in and keep the token as that of ``name``."""
        status, _, got = await self.log_in(**more)
        self.assertEqual(status, 200, got)
        self.keys[name] = got["token"]
        return got

    async def rows(self, sql: str, *params: Any) -> Rows:
        """Read from the store."""
        found: Rows = await self.store.read(query, sql, *params)
        return found

    async def execute(self, sql: str, *params: Any) -> None:
        """Change something in the store."""
        await self.store.write(query, sql, *params)

    async def audited(self, *columns: str) -> Rows:
        """Give these columns of the audit log, oldest entry first."""
        return await self.rows(f"SELECT {', '.join(columns)} FROM audit_log ORDER BY seq")

    def deferred(self, work: Any) -> Deferred[Any]:
        """Start a coroutine."""
        return Deferred.fromCoroutine(work)
