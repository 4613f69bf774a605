"""Around the ops scripts: the catalogue, its check, its documentation, new ones."""
