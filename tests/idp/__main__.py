"""``python -m tests.idp`` installs what the identity provider of the tests needs."""

from tests.idp import prepare

prepare()
