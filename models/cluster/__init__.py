"""Alerts -> clusters: attack steps of one attacker."""

from models.cluster.grouping import Settings, settings_from, update

__all__ = ["Settings", "settings_from", "update"]
