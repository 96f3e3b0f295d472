"""Tests of tools/floors: small trees of Rust files, and what is said of them."""

import importlib.util
import subprocess
import sys
import tempfile
import unittest
from importlib.machinery import SourceFileLoader
from pathlib import Path
from textwrap import dedent

PATH = Path(__file__).with_name("floors")
sys.dont_write_bytecode = True
LOADER = SourceFileLoader("floors", str(PATH))
floors = importlib.util.module_from_spec(importlib.util.spec_from_loader("floors", LOADER))
sys.modules["floors"] = floors
LOADER.exec_module(floors)


class TreeTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.top = Path(folder.name)

    def tree(self, files):
        for name, text in files.items():
            path = self.top / "module" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text))
        return floors.Tree(self.top, "module")

    def imports(self, files):
        """Each import as "FILE:LINE FILE", below module/."""
        return [
            f"{edge.source.relative_to('module')}:{edge.line} {edge.target.relative_to('module')}"
            for edge in self.tree(files).imports
        ]

    def faults(self, files, floor):
        return list(floors.faults(self.tree(files), floor))


class Imports(TreeTest):
    def test_a_tree_of_names_is_taken_apart(self):
        files = {
            "lib.rs": "mod a; mod b; mod c;",
            "a.rs": """\
                use crate::{
                    b::{self, One, two::{Three as Four}},
                    c::*,
                };
                """,
            "b.rs": "pub mod two;",
            "b/two.rs": "",
            "c.rs": "",
        }
        self.assertEqual(self.imports(files), ["a.rs:2 b/two.rs", "a.rs:2 b.rs", "a.rs:3 c.rs"])

    def test_a_path_in_the_code_counts_where_it_stands(self):
        files = {
            "lib.rs": "mod a; mod b;",
            "a.rs": "fn f() {\n    crate::b::g::<crate::b::T>();\n}\nfn h(x: super::b::T) {}",
            "b.rs": "",
        }
        self.assertEqual(self.imports(files), ["a.rs:2 b.rs", "a.rs:4 b.rs"])

    def test_a_module_alone_is_a_shorter_name(self):
        files = {
            "lib.rs": "mod a; mod b;",
            "a.rs": "use crate::b;\nuse crate::b as other;\nfn f() { b::c::g();\nother::h(); }",
            "b/mod.rs": "pub mod c;",
            "b/c.rs": "",
        }
        self.assertEqual(self.imports(files), ["a.rs:3 b/c.rs", "a.rs:4 b/mod.rs"])

    def test_a_declaration_is_no_import_and_a_use_of_what_it_declares_is_one(self):
        files = {"lib.rs": "mod a;", "a/mod.rs": "mod b;\nmod c;\nfn f() { c::g() }", "a/b.rs": "", "a/c.rs": ""}
        self.assertEqual(self.imports(files), ["a/mod.rs:3 a/c.rs"])

    def test_a_brother_is_no_import_of_the_parent_and_its_items_are(self):
        files = {
            "lib.rs": "mod a;",
            "a/mod.rs": "mod b; mod c; pub struct Thing;",
            "a/b.rs": "use super::c::Other;",
            "a/c.rs": "use super::Thing;",
        }
        self.assertEqual(self.imports(files), ["a/b.rs:1 a/c.rs", "a/c.rs:1 a/mod.rs"])

    def test_a_name_belongs_to_the_file_that_re_exports_it(self):
        files = {
            "lib.rs": "mod a; mod b;",
            "a.rs": "use crate::b::Name;",
            "b/mod.rs": "mod c;\npub use c::Name;",
            "b/c.rs": "",
        }
        self.assertEqual(self.imports(files), ["a.rs:1 b/mod.rs", "b/mod.rs:2 b/c.rs"])

    def test_a_function_may_have_the_name_of_its_module(self):
        files = {"lib.rs": "mod a;", "a/mod.rs": "mod serve;\npub use serve::serve;", "a/serve.rs": ""}
        self.assertEqual(self.imports(files), ["a/mod.rs:2 a/serve.rs"])

    def test_inline_modules_are_places_of_their_file(self):
        files = {
            "lib.rs": "mod a; mod b;",
            "a.rs": "use crate::b;\nmod own {\n    use super::*;\n    fn f() { b::g(); super::h(); }\n}",
            "b.rs": "",
        }
        self.assertEqual(self.imports(files), ["a.rs:4 b.rs"])

    def test_globs_that_lead_in_a_loop_end(self):
        files = {
            "lib.rs": "mod a; mod b; mod c;",
            "a.rs": "use crate::b::*;\nfn f() { c::g(); d::g() }",
            "b.rs": "pub use crate::a::*;\npub use crate::c;",
            "c.rs": "",
        }
        self.assertEqual(
            self.imports(files), ["a.rs:1 b.rs", "a.rs:2 c.rs", "b.rs:1 a.rs", "b.rs:2 c.rs"]
        )

    def test_a_path_attribute_names_the_file(self):
        files = {
            "lib.rs": 'mod a;',
            "a.rs": '#[cfg(x)]\n#[path = "b/mod.rs"]\nmod b;\nfn f() { b::g() }',
            "b/mod.rs": "use crate::a::T;",
        }
        self.assertEqual(self.imports(files), ["a.rs:4 b/mod.rs", "b/mod.rs:1 a.rs"])

    def test_comments_strings_and_other_crates_are_none(self):
        files = {
            "lib.rs": "mod a; mod b;",
            "a.rs": """\
                //! [`crate::b::T`]
                /* crate::b::T /* nested */ crate::b::T */
                const S: &str = "crate::b::T \\" crate::b::T";
                const R: &str = r#"crate::b::T " crate::b::T"#;
                const C: [char; 2] = ['"', '\\''];
                use ::b::T;
                fn f<'a>(x: &'a core::b::T) { std::b::g() }
                """,
            "b.rs": "",
        }
        self.assertEqual(self.imports(files), [])

    def test_macros_and_visibilities(self):
        files = {
            "lib.rs": "mod a; mod b;",
            "a.rs": "macro_rules! m { () => { $crate::b::g() } }\npub(in super::super) fn f() {}",
            "b.rs": "",
        }
        self.assertEqual(self.imports(files), ["a.rs:1 b.rs"])

    def test_what_only_tests_compile_imports_nothing(self):
        files = {
            "lib.rs": "mod a; mod b; #[cfg(all(test, not(loom)))] mod tests; #[cfg(loom)] mod loom;",
            "a.rs": """\
                #[cfg(test)]
                use crate::b::T;
                #[cfg(all(loom, debug_assertions))]
                fn f<A, B>() -> [u8; 3] { crate::b::g() }
                #[cfg(test)]
                mod tests { use crate::b::T; }
                #[cfg(not(loom))]
                fn h() { crate::b::g() }
                #[cfg(any(test, unix))]
                fn i() { crate::b::g() }
                """,
            "b.rs": "",
            "tests.rs": "use crate::a::T;",
            "loom.rs": "use crate::a::T;",
        }
        self.assertEqual(self.imports(files), ["a.rs:8 b.rs", "a.rs:10 b.rs"])
        self.assertEqual(self.faults(files, {"lib.rs": 3, "a.rs": 2, "b.rs": 1}), [])


class Faults(TreeTest):
    FILES = {
        "lib.rs": "mod high; mod low;",
        "high/mod.rs": "pub mod one; pub mod two;",
        "high/one.rs": "use super::two::T;\nuse crate::low::T;",
        "high/two.rs": "",
        "low.rs": "",
    }
    FLOOR = {"lib.rs": 3, "high/": 2, "low.rs": 1}

    def test_a_tree_whose_imports_go_down_has_none(self):
        self.assertEqual(self.faults(self.FILES, self.FLOOR), [])

    def test_an_import_upward(self):
        files = {**self.FILES, "low.rs": "\nuse crate::high::two::T;"}
        self.assertEqual(
            self.faults(files, self.FLOOR),
            ["module/low.rs:2 -> module/high/two.rs: does not go down, from floor 1 to floor 2"],
        )

    def test_an_import_of_the_same_floor(self):
        self.assertEqual(
            self.faults(self.FILES, {**self.FLOOR, "low.rs": 2}),
            ["module/high/one.rs:2 -> module/low.rs: does not go down, from floor 2 to floor 2"],
        )

    def test_a_circle_within_a_room(self):
        files = {**self.FILES, "high/two.rs": "fn f() { super::one::g() }"}
        self.assertEqual(
            self.faults(files, self.FLOOR),
            [
                "module/high/one.rs:1 -> module/high/two.rs: in circle 1 of module/, of 2 files",
                "module/high/two.rs:1 -> module/high/one.rs: in circle 1 of module/, of 2 files",
            ],
        )

    def test_rooms_and_floors_that_miss_each_other(self):
        self.assertEqual(
            self.faults(self.FILES, {"lib.rs": 3, "high/": 2, "gone/": 1}),
            [
                "module/low.rs: no floor in docs/architecture.md",
                "module/gone/: has a floor in docs/architecture.md and does not exist",
            ],
        )

    def test_a_file_without_a_mod(self):
        files = {**self.FILES, "high/lost.rs": ""}
        self.assertEqual(self.faults(files, self.FLOOR), ["module/high/lost.rs: no file has a mod for it"])

    def test_a_mod_that_defines_and_re_exports(self):
        files = {**self.FILES, "high/mod.rs": "mod one; mod two;\nfn f() {}\npub use one::T;"}
        self.assertEqual(
            self.faults(files, self.FLOOR),
            ["module/high/mod.rs:3: a mod.rs defines (line 2) or re-exports, not both"],
        )

    def test_a_re_export_of_everything(self):
        files = {**self.FILES, "high/mod.rs": "mod one; mod two;\npub use one::*;"}
        self.assertEqual(self.faults(files, self.FLOOR), ["module/high/mod.rs:2: re-exports everything"])

    def test_a_re_export_within_a_file(self):
        files = {**self.FILES, "low.rs": "mod own { pub fn f() {} }\npub use own::*;"}
        self.assertEqual(self.faults(files, self.FLOOR), [])

    def test_sizes(self):
        files = {**self.FILES, "low.rs": "\n" * 501, **{f"high/{n}.txt": "" for n in range(10)}}
        self.assertEqual(
            self.faults(files, self.FLOOR),
            ["module/high/: 13 files, at most 12", "module/low.rs: 501 lines, at most 500"],
        )
        (self.top / "module/high/9.txt").unlink()
        self.assertEqual(self.faults({"low.rs": "\n" * 500}, self.FLOOR), [])


class Document(unittest.TestCase):
    TEXT = dedent("""\
        # Rooms

        ### `module/`

        Words.

        | floor | room | what |
        |---|---|---|
        | 2 | `high/` | one \\| two |
        | 1 | `lib.rs` | three |

        | 7 | `other/` | of another table |

        ### `affinity/src/`

        | 1 | `table/` | four |
        """)

    def test_each_tree_has_the_table_below_its_heading(self):
        self.assertEqual(floors.floors(self.TEXT, "module"), {"high/": 2, "lib.rs": 1})
        self.assertEqual(floors.floors(self.TEXT, "affinity/src"), {"table/": 1})
        self.assertEqual(floors.floors("", "module"), {})


class Graph(unittest.TestCase):
    def test_components(self):
        below = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}
        found = floors.components(sorted(below), below)
        self.assertEqual(sorted(found), [["a", "b", "c"], ["d", "e"], ["f"]])


class Command(unittest.TestCase):
    def run_on(self, text, *arguments, others=()):
        with tempfile.TemporaryDirectory() as top:
            for file, content in (
                ("docs/architecture.md", "## `module/`\n| 2 | `a.rs` |\n| 1 | `lib.rs` |\n"),
                ("module/lib.rs", "mod a;"),
                ("module/a.rs", text),
                *others,
            ):
                path = Path(top, file)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content)
            return subprocess.run(
                [sys.executable, PATH, *arguments, top], capture_output=True, text=True, check=False
            )

    def test_it_is_silent_when_all_is_well(self):
        run = self.run_on("use crate::T;")
        self.assertEqual((run.returncode, run.stdout, run.stderr), (0, "", ""))

    def test_it_fails_and_says_why(self):
        run = self.run_on("\n" * 501)
        self.assertEqual((run.returncode, run.stdout), (1, ""))
        self.assertEqual(run.stderr, "error: module/a.rs: 501 lines, at most 500\n")

    def test_it_measures_the_rust_files_of_tests_benchmarks_and_fuzz_targets(self):
        long = [
            f"{folder}/a.rs"
            for folder in ("affinity/tests", "affinity/benches/common", "affinity/fuzz/fuzz_targets", "bench/load/src")
        ]
        others = [
            *((file, "\n" * 501) for file in long),
            *((f"affinity/tests/b/{number}.rs", "") for number in range(13)),
            *((f"affinity/fuzz/seeds/{number}", "") for number in range(13)),
            ("affinity/fuzz/target/debug/generated.rs", "\n" * 501),
        ]
        run = self.run_on("", others=others)
        self.assertEqual((run.returncode, run.stdout), (1, ""))
        expected = [f"error: {file}: 501 lines, at most 500" for file in long]
        expected.append("error: affinity/tests/b/: 13 files, at most 12")
        self.assertEqual(sorted(run.stderr.splitlines()), sorted(expected))

    def test_it_shows_the_rooms(self):
        run = self.run_on("use crate::T;", "--print")
        self.assertEqual(run.returncode, 0)
        self.assertIn("2      a.rs    1      1      lib.rs\n", run.stdout)
        self.assertIn("largest circle: 1 file, arrows upward: 0\n", run.stdout)


if __name__ == "__main__":
    unittest.main()
