"""Which deployment to try; one per model for now, behind the interface that stays."""

from __future__ import annotations

from zope.interface import implementer

from voidllm.core.interfaces import IPlanner
from voidllm.core.model import Deployment, Model


@implementer(IPlanner)
class InOrderPlanner:
    """Tries the deployments of a model in the order in which they are configured."""

    def plan(self, model: Model) -> tuple[Deployment, ...]:
        """Give the deployments of ``model``, at least one."""
        return model.deployments
