"""Certificates for one test."""

import subprocess
from pathlib import Path

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")


class Authority:
    """A CA that has its certificate, and those that it issues, in one folder: NAME.pem with NAME.key."""

    def __init__(self, folder: Path, name: str):
        self._folder = folder
        self._name = name
        self._make(name, "-addext", "basicConstraints=critical,CA:TRUE")

    def issue(self, name: str, host: str) -> None:
        self._make(
            name,
            *("-CA", f"{self._name}.pem", "-CAkey", f"{self._name}.key"),
            *("-addext", f"subjectAltName=DNS:{host}", "-addext", "basicConstraints=CA:FALSE"),
        )

    def issue_expired(self, name: str, host: str) -> None:
        """A certificate whose time ended yesterday, which `openssl req` does not make."""
        self._run(
            *("req", "-new", "-batch", *KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr"),
            *("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{host}"),
        )
        self._run(
            *("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", "-copy_extensions", "copy", "-days", "-1"),
            *("-CA", f"{self._name}.pem", "-CAkey", f"{self._name}.key"),
        )

    def _make(self, name: str, *arguments: str) -> None:
        command = ("req", "-x509", "-batch", "-days", "2", "-subj", f"/CN={name}", "-out", f"{name}.pem")
        self._run(*command, *KEY, "-keyout", f"{name}.key", *arguments)

    def _run(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._folder, check=True, capture_output=True)
