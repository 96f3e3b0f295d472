"""The object of the tests has the directives of module/testing/, the product has none of them."""

from harness.nginx import MODULE, TESTING_MODULE, Nginx

NOTE = "sticky_test_note hello;"


def test_the_product_has_no_directive_of_the_tests(tmp_path, testing_nginx):
    product = Nginx(tmp_path / "product")
    product.configure(NOTE)
    assert 'unknown directive "sticky_test_note"' in product.check()
    testing_nginx.configure(NOTE)
    assert testing_nginx.check() == ""
    assert b"sticky_test_" in TESTING_MODULE.read_bytes()
    assert b"sticky_test_" not in MODULE.read_bytes()


def test_each_worker_runs_the_module_of_the_tests(testing_nginx):
    testing_nginx.start(NOTE, workers=2)
    notes = [line for line in testing_nginx.errors() if "note of a test: hello" in line]
    assert len(notes) == 2
