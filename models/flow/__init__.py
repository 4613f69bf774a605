"""Clusters -> attack flows: which step led to which."""

from models.flow.linking import update

__all__ = ["update"]
