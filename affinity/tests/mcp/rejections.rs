//! The bodies of rejections.

use super::*;

#[test]
fn a_rejection_is_a_json_rpc_error() {
    use affinity::mcp::rejection::body;
    for rejection in [Rejection::NotFound, Rejection::Gone] {
        assert_eq!(
            body(rejection),
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}"#
        );
    }
    let ambiguous = body(Rejection::Ambiguous);
    assert!(ambiguous.starts_with(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"#));
    assert!(body(Rejection::Unavailable).starts_with(r#"{"jsonrpc":"2.0","id":null,"error":{"#));
}
