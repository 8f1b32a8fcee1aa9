"""What a connection keeps for itself is small."""

from __future__ import annotations

from tests.proxy.rig import json_reply
from tests.proxy.test_exchange import REPLY, RigCase
from voidllm.http.connection import FrontConnection
from voidllm.http.upstream_connection import UpstreamConnection


class ConnectionSizeTests(RigCase):
    """Thousands of connections wait at a time."""

    def test_no_dictionary(self) -> None:
        """Neither kind has an attribute outside its slots, used or not: a dictionary is up to 1.6 KB."""
        self.script(json_reply(REPLY))
        self.rig.chat()
        kinds = (FrontConnection, UpstreamConnection)
        found = [t.protocol for t in self.rig.reactor.open if isinstance(t.protocol, kinds)]
        self.assertEqual({type(one) for one in found}, set(kinds))
        self.assertEqual([vars(one) for one in found], [{}] * len(found))
