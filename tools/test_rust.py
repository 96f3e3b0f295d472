"""Tests of need_rust in tools/lib.sh: which Rust it installs, and what it says. Debian's programs are scripts here."""

import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

TOOLS = Path(__file__).parent
DEBIAN_12 = {"rustc": "1.63.0+dfsg1-2", "rustc-web": "1.85.0+dfsg3-1"}
DEBIAN_13 = {"rustc": "1.85.0+dfsg3-1"}


class RustTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.top = Path(folder.name)
        for name in ("bin", "tools", "lists"):
            (self.top / name).mkdir()
        shutil.copy(TOOLS / "lib.sh", self.top / "tools")
        shutil.copy(TOOLS.parent / "Cargo.toml", self.top)
        # What lib.sh uses of this machine: not its Rust, wherever that is.
        for program in ("awk", "bash", "cat", "chmod", "cut", "dirname", "env", "flock", "mkdir", "sed", "sh", "sort", "touch"):
            (self.top / "bin" / program).symlink_to(shutil.which(program))

    def script(self, name, text):
        path = self.top / "bin" / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def debian(self, candidates, user=0, lists=True):
        """A Debian with these versions of packages; without `lists` it knows them only after an update."""
        known = self.top / "lists" / "known"
        if lists:
            known.touch()
        self.script("id", f"echo {user}")
        self.script("dpkg-query", "exit 1")
        cases = " ".join(f'{name}) echo "  Candidate: {version}";;' for name, version in candidates.items())
        self.script("apt-cache", f"[ -e {known} ] || exit 0; case $2 in {cases} *) echo '  Candidate: (none)';; esac")
        new = "printf '#!/bin/sh\\necho rustc 1.85.0\\n'"
        rust = "\n".join(f"{new} >{self.top}/bin/{name}; chmod +x {self.top}/bin/{name}" for name in ("cargo", "rustc"))
        cases = f'*update*) touch {known};; *" install "*) {rust};;'
        self.script("apt-get", f'echo "$*" >>{self.top}/apt; case "$*" in {cases} esac')

    def other_system(self):
        for name in ("apt-get", "dpkg-query"):
            (self.top / "bin" / name).unlink()

    def rust(self, version):
        for name in ("cargo", "rustc"):
            self.script(name, f"echo rustc {version}")

    def need_rust(self):
        return subprocess.run(
            ["bash", "-c", f". {self.top}/tools/lib.sh; need_rust"],
            env={"PATH": f"{self.top}/bin", "HOME": str(self.top)},
            capture_output=True,
            text=True,
        )

    def installed(self):
        done = self.need_rust()
        self.assertEqual(done.returncode, 0, done.stderr)
        commands = (self.top / "apt").read_text().splitlines() if (self.top / "apt").exists() else []
        return [line.partition("--no-install-recommends ")[2] for line in commands if " install " in line]

    def refusal(self):
        done = self.need_rust()
        self.assertNotEqual(done.returncode, 0)
        return done.stderr.strip().removeprefix("error: ")

    def test_root_of_debian_12_gets_the_rust_of_its_browsers(self):
        self.debian(DEBIAN_12)
        self.assertEqual(self.installed(), ["cargo-web rustc-web"])

    def test_root_of_debian_13_gets_its_rust(self):
        self.debian(DEBIAN_13)
        self.assertEqual(self.installed(), ["cargo rustc"])

    def test_a_machine_without_lists_of_packages_gets_them_first(self):
        self.debian(DEBIAN_12, lists=False)
        self.assertEqual(self.installed(), ["cargo-web rustc-web"])

    def test_a_user_is_told_the_packages(self):
        self.debian(DEBIAN_12, user=1000)
        self.assertEqual(self.refusal(), "no cargo and rustc in PATH; as root: apt-get install cargo-web rustc-web")
        self.assertFalse((self.top / "apt").exists())

    def test_an_old_rust_is_named(self):
        self.debian(DEBIAN_12)
        self.rust("1.63.0")
        self.assertEqual(
            self.refusal(),
            f"{self.top}/bin/rustc is Rust 1.63.0, 1.85 or newer is needed; as root: apt-get install cargo-web rustc-web",
        )

    def test_rust_that_is_there_is_taken(self):
        self.debian(DEBIAN_12)
        self.rust("1.85.0")
        self.assertEqual(self.installed(), [])

    def test_where_no_package_is_new_enough_rustup_is_named(self):
        for system in (lambda: self.debian({"rustc": "1.75.0+dfsg0ubuntu1"}), self.other_system):
            system()
            self.assertEqual(self.refusal(), "no cargo and rustc in PATH; install Rust 1.85 or newer with rustup")


if __name__ == "__main__":
    unittest.main()
