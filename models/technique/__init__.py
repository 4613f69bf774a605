"""Alert name -> its five best ATT&CK techniques."""

from models.technique.predict import load, predict

__all__ = ["load", "predict"]
