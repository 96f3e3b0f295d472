"""Tests of tools/tree and tools/module: which sources they take for an nginx, and what they say of others. The nginx, the
sources and cargo are scripts here."""

import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

TOOLS = Path(__file__).parent


class TreeTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.top = Path(folder.name).resolve()
        (self.top / "tools").mkdir()
        for name in ("lib.sh", "tree", "module"):
            shutil.copy(TOOLS / name, self.top / "tools")
        shutil.copy(TOOLS.parent / "Cargo.toml", self.top)

    def script(self, path, text):
        path = self.top / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def nginx(self, said, path="sbin/nginx", loads=""):
        """An nginx that says `said` of itself; `loads` is what it runs when it tests a configuration."""
        return self.script(path, f'case $1 in -[vV]) echo "{said}" >&2;; -t) {loads or ":"};; esac')

    def sources(self, path, product, *defines):
        name, number = product.split("/")
        header = self.top / path / "src/core/nginx.h"
        header.parent.mkdir(parents=True)
        base = ".".join(number.split(".")[:3])
        rest = number[len(base) :]
        lines = [
            f'#define NGINX_VERSION      "{base}"',
            f'#define NGINX_VER          "{name}/" NGINX_VERSION' + (f' "{rest}"' if rest else ""),
            *defines,
        ]
        header.write_text("\n".join(lines) + "\n")
        self.script(f"{path}/configure", "mkdir objs && touch objs/ngx_auto_config.h objs/Makefile")
        return self.top / path

    def run_tool(self, tool, nginx, **environment):
        path = f"{self.top}/bin:/usr/bin:/bin"
        return subprocess.run(
            [self.top / "tools" / tool, nginx],
            env={"PATH": path, "HOME": str(self.top), **{key: str(value) for key, value in environment.items()}},
            capture_output=True,
            text=True,
        )

    def tree(self, nginx, **environment):
        """The source folder that is taken."""
        done = self.run_tool("tree", nginx, **environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        return Path(done.stdout.split()[0])

    def refusal(self, nginx, tool="tree", **environment):
        done = self.run_tool(tool, nginx, **environment)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        return done.stderr.strip().splitlines()[-1]


class Sources(TreeTest):
    def test_the_same_product_is_taken(self):
        for product in ("nginx/1.30.6", "freenginx/1.29.4", "openresty/1.27.1.2"):
            with self.subTest(product):
                name = product.replace("/", "-")
                source = self.sources(f"src/{name}", product)
                taken = self.tree(self.nginx(f"nginx version: {product}"), NGINX_SOURCE_DIR=source)
                self.assertEqual(taken, self.top / "build" / name.removeprefix("nginx-") / "tree")

    def test_a_name_of_the_build_does_not_count(self):
        self.tree(self.nginx("nginx version: nginx/1.26.3 (Debian)"), NGINX_SOURCE_DIR=self.sources("src", "nginx/1.26.3"))

    def test_plain_sources_of_the_same_number_are_refused_for_openresty(self):
        plain = self.sources("nginx-1.31.1", "nginx/1.31.1")
        nginx = self.nginx("nginx version: openresty/1.31.1.1")
        self.assertEqual(
            self.refusal(nginx, NGINX_SOURCE_DIR=plain),
            f"error: {nginx} is openresty/1.31.1.1, {plain} is nginx/1.31.1; set NGINX_SOURCE_DIR to the unpacked release "
            "openresty-1.31.1.1, or to its build/nginx-1.31.1",
        )

    def test_so_is_another_release_of_openresty(self):
        source = self.sources("src", "openresty/1.31.1.2")
        said = self.refusal(self.nginx("nginx version: openresty/1.31.1.1"), NGINX_SOURCE_DIR=source)
        self.assertIn(f"is openresty/1.31.1.1, {source} is openresty/1.31.1.2;", said)

    def test_and_openresty_for_a_plain_nginx(self):
        source = self.sources("src", "openresty/1.31.1.1")
        said = self.refusal(self.nginx("nginx version: nginx/1.31.1"), NGINX_SOURCE_DIR=source)
        self.assertIn(f"{source} is openresty/1.31.1.1; set NGINX_SOURCE_DIR to the sources of nginx/1.31.1", said)

    def test_a_configured_tree_is_compared_too(self):
        plain = self.sources("nginx-1.31.1", "nginx/1.31.1")
        subprocess.run(["./configure"], cwd=plain, check=True)
        said = self.refusal(self.nginx("nginx version: openresty/1.31.1.1"), NGINX_BUILD_DIR=plain / "objs")
        self.assertIn("is openresty/1.31.1.1", said)

    def test_tengine_names_itself_beside_nginx(self):
        nginx = self.nginx("Tengine version: Tengine/3.1.0 (nginx/1.24.0)")
        ours = '#define TENGINE_VER "Tengine" "/" "3.1.0"'
        self.tree(nginx, NGINX_SOURCE_DIR=self.sources("tengine", "nginx/1.24.0", ours))
        said = self.refusal(nginx, NGINX_SOURCE_DIR=self.sources("plain", "nginx/1.24.0"))
        self.assertIn("is Tengine/3.1.0,", said)

    def test_without_sources_openresty_is_told_what_to_give(self):
        said = self.refusal(self.nginx("nginx version: openresty/1.27.1.2"))
        self.assertIn("set NGINX_SOURCE_DIR to the unpacked release openresty-1.27.1.2, or to its build/nginx-1.27.1", said)

    def test_angie_cannot_be_helped(self):
        said = self.refusal(self.nginx("Angie version: Angie/1.8.1"))
        self.assertIn("this module cannot be built for it", said)
        self.assertNotIn("NGINX_SOURCE_DIR", said)


class Releases(TreeTest):
    def test_an_unpacked_release_of_openresty(self):
        self.sources("openresty/bundle/nginx-1.27.1", "openresty/1.27.1.2")
        nginx = self.nginx("nginx version: openresty/1.27.1.2")
        taken = self.tree(nginx, NGINX_SOURCE_DIR=self.top / "openresty")
        self.assertEqual(taken, self.top / "build/openresty-1.27.1.2/tree")

    def test_a_configured_one_is_taken_as_it_is(self):
        self.sources("openresty/bundle/nginx-1.27.1", "openresty/1.27.1.2")
        built = self.sources("openresty/build/nginx-1.27.1", "openresty/1.27.1.2")
        subprocess.run(["./configure"], cwd=built, check=True)
        nginx = self.nginx("nginx version: openresty/1.27.1.2")
        self.assertEqual(self.tree(nginx, NGINX_SOURCE_DIR=self.top / "openresty"), built)

    def test_a_folder_without_sources(self):
        (self.top / "empty").mkdir()
        nginx = self.nginx("nginx version: openresty/1.27.1.2")
        said = self.refusal(nginx, NGINX_SOURCE_DIR=self.top / "empty")
        self.assertIn(f"no nginx sources in {self.top}/empty; set NGINX_SOURCE_DIR to the unpacked release", said)


class Module(TreeTest):
    def setUp(self):
        super().setUp()
        self.script("bin/rustc", "echo rustc 1.99.0")
        self.script("bin/cargo", 'mkdir -p "$CARGO_TARGET_DIR/release"; touch "$CARGO_TARGET_DIR/release/libngx_http_sticky_learn_module.so"')

    def test_its_folder_carries_the_product(self):
        source = self.sources("src", "openresty/1.27.1.2")
        nginx = self.nginx("nginx version: openresty/1.27.1.2", path="bin/openresty")
        done = self.run_tool("module", nginx, NGINX_SOURCE_DIR=source)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.strip(), f"{self.top}/build/openresty-1.27.1.2/ngx_http_sticky_learn_module.so")
        self.assertIn("built for openresty/1.27.1.2", done.stderr)

    def test_a_static_nginx_is_refused_before_anything_is_built(self):
        source = self.sources("src", "nginx/1.30.6")
        for why in ('dlopen() \\"none.so\\" failed (Dynamic loading not supported)', 'unknown directive \\"load_module\\"'):
            with self.subTest(why):
                nginx = self.nginx("nginx version: nginx/1.30.6", loads=f'echo "[emerg] {why}"; exit 1')
                said = self.refusal(nginx, tool="module", NGINX_SOURCE_DIR=source)
                self.assertIn("is linked statically and loads no modules; compile it with ./configure --add-module=", said)
                self.assertFalse(list(self.top.glob("build/*/cargo")))

    def test_an_nginx_that_does_not_load_it_is_quoted(self):
        source = self.sources("src", "nginx/1.30.6")
        nginx = self.nginx("nginx version: nginx/1.30.6", loads='echo "[emerg] is not binary compatible"; exit 1')
        done = self.run_tool("module", nginx, NGINX_SOURCE_DIR=source)
        self.assertIn("is not binary compatible", done.stderr)
        self.assertIn("configure the tree as nginx -V says", done.stderr)


class Release(unittest.TestCase):
    def test_the_lua_file_has_the_version_of_the_module(self):
        manifest = (TOOLS.parent / "Cargo.toml").read_text()
        version = re.search(r'^version = "(.*)"', manifest, re.MULTILINE)[1]
        self.assertIn(f'_VERSION = "{version}"', (TOOLS.parent / "lua/resty/sticky_learn.lua").read_text())


if __name__ == "__main__":
    unittest.main()
