"""The object of the tests has the directives of module/testing/, the product has none of them."""

from harness.connect import connect
from harness.nginx import MODULE, TESTING_MODULE, Nginx


def test_the_product_has_no_directive_of_the_tests(tmp_path, testing_nginx):
    product = Nginx(tmp_path / "product")
    product.configure(connect("127.0.0.1:1"))
    assert 'unknown directive "sticky_test_connect"' in product.check()
    testing_nginx.configure(connect("127.0.0.1:1"))
    assert testing_nginx.check() == ""
    assert b"sticky_test_" in TESTING_MODULE.read_bytes()
    assert b"sticky_test_" not in MODULE.read_bytes()
