//! Requests as bytes.

use affinity::http::{HttpRequest, RequestError};

const REQUEST: HttpRequest<'static> = HttpRequest {
    method: "POST",
    target: b"/mcp?a=1",
    host: b"mcp.example:8080",
    headers: &[("Content-Type", b"application/json"), ("Mcp-Session-Id", b"s 1")],
    body: Some(b"{}"),
    keep_alive: true,
};

#[test]
fn a_request_has_its_length_and_the_headers_that_it_was_given() {
    assert_eq!(
        REQUEST.encode().unwrap().escape_ascii().to_string(),
        "POST /mcp?a=1 HTTP/1.1\\r\\nHost: mcp.example:8080\\r\\nContent-Length: 2\\r\\n\
         Connection: keep-alive\\r\\nContent-Type: application/json\\r\\nMcp-Session-Id: s 1\\r\\n\
         \\r\\n{}"
    );
    let get = HttpRequest { method: "GET", headers: &[], body: None, keep_alive: false, ..REQUEST };
    assert_eq!(
        get.encode().unwrap(),
        b"GET /mcp?a=1 HTTP/1.1\r\nHost: mcp.example:8080\r\nConnection: close\r\n\r\n"
    );
    let empty = HttpRequest { body: Some(b""), ..REQUEST }.encode().unwrap();
    assert!(empty.windows(20).any(|text| text == b"\r\nContent-Length: 0\r\n"[..20].as_ref()));
}

#[test]
fn nothing_that_is_given_begins_another_line_or_message() {
    let method = |method| HttpRequest { method, ..REQUEST }.encode().unwrap_err();
    for text in ["", "GET /", "GET\r\n", "G\0T", "GÉT", "CONNECT"] {
        assert_eq!(method(text), RequestError::Method, "{text:?}");
    }
    let target = |target| HttpRequest { target, ..REQUEST }.encode().unwrap_err();
    for text in
        ["", "mcp", "*", "http://a/", "/ HTTP/1.1", "/\r\nA: b", "/\0", "/\t", "/\x7f", "/#a"]
    {
        assert_eq!(target(text.as_bytes()), RequestError::Target, "{text:?}");
    }
    for host in ["a\r\nB: c", "a b", "\0", "\n"] {
        let request = HttpRequest { host: host.as_bytes(), ..REQUEST };
        assert_eq!(request.encode(), Err(RequestError::Host), "{host:?}");
    }
    for name in ["", "A B", "A:", "A\r\n", "É", "host", "Content-Length", "TRANSFER-ENCODING"] {
        let request = HttpRequest { headers: &[(name, b"x")], ..REQUEST };
        assert_eq!(request.encode(), Err(RequestError::Name), "{name:?}");
    }
    for value in ["a\r\nB: c", "a\nb", "\r", "\0", "\x1b", "\x7f"] {
        let request = HttpRequest { headers: &[("A", value.as_bytes())], ..REQUEST };
        assert_eq!(request.encode(), Err(RequestError::Value), "{value:?}");
    }
    let request = HttpRequest { headers: &[("A", b"\ta \xe9\xff")], ..REQUEST };
    assert!(request.encode().is_ok());
}
