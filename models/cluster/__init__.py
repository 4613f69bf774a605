"""Alerts -> clusters: attack steps of one attacker."""

from models.cluster.grouping import explain, update
from models.cluster.settings import Settings, settings_from

__all__ = ["Settings", "explain", "settings_from", "update"]
