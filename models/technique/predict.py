"""Technique of an alert from words in its name."""

from __future__ import annotations

import re
from typing import Any

WORDS = {
    "T1595": "scan scanner scanning nmap nikto wpscan dirb sweep probe",
    "T1110": "brute bruteforce password guessing login logins failed cracking hydra",
    "T1190": "exploit injection sqli overflow traversal rce cve webshell",
    "T1059": "shell command script powershell bash execution",
    "T1071": "beacon cnc c2 callback http https checkin malware trojan",
    "T1071.004": "dns tunnel tunneling query tld",
    "T1048": "exfiltration exfil upload dnsteal",
    "T1078": "account valid session credential user",
    "T1548": "sudo privilege escalation root elevation",
    "T1489": "stop stopped service disabled",
}
BY_WORD = {word: technique for technique, words in WORDS.items() for word in words.split()}


def load() -> None:
    """Make the first answer as fast as the others."""


def predict(names: list[str]) -> list[list[dict[str, Any]]]:
    """Best five techniques of each name, ``{"id", "score"}``, best first."""
    answers = []
    for name in names:
        hits: dict[str, int] = {}
        for word in re.findall(r"[a-z0-9]+", name.lower()):
            if word in BY_WORD:
                hits[BY_WORD[word]] = hits.get(BY_WORD[word], 0) + 1
        ranked = sorted(hits.items(), key=lambda item: (-item[1], item[0]))[:5]
        answers.append([{"id": technique, "score": round(count / (count + 1), 3)} for technique, count in ranked])
    return answers
