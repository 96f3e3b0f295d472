"""Certificates for one test."""

import subprocess
from pathlib import Path


class Authority:
    """A CA that has its certificate, and those that it issues, in one folder: NAME.pem with NAME.key."""

    def __init__(self, folder: Path, name: str):
        self._folder = folder
        self._name = name
        self._make(name, "-days", "2", "-addext", "basicConstraints=critical,CA:TRUE")

    def issue(self, name: str, host: str, days: int = 2) -> None:
        """With `days` below zero, the certificate has expired."""
        self._make(
            name,
            *("-days", str(days)),
            *("-CA", f"{self._name}.pem", "-CAkey", f"{self._name}.key"),
            *("-addext", f"subjectAltName=DNS:{host}", "-addext", "basicConstraints=CA:FALSE"),
        )

    def _make(self, name: str, *arguments: str) -> None:
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-keyout", f"{name}.key")
        command = ("openssl", "req", "-x509", "-batch", "-subj", f"/CN={name}", "-out", f"{name}.pem")
        subprocess.run([*command, *key, *arguments], cwd=self._folder, check=True, capture_output=True)
