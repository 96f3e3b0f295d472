//! Ids in the query and in `Mcp-Name`.

use super::*;

#[test]
fn a_query_is_decoded_as_servers_decode_it() {
    for (text, id) in [
        (&b"sessionId=s"[..], Some(&b"s"[..])),
        (b"session_id=s", Some(b"s")),
        (b"a=1&session_id=s&b=2", Some(b"s")),
        (b"sessionId=&session_id=s", Some(b"s")),
        (b"sessionId&session_id=s", Some(b"s")),
        (b"sessionId=a&session_id=b", Some(b"a")),
        (b"session%49d=%61%2Bb+c", Some(b"a+b c")),
        (b"sessionId=%zz%4", Some(b"%zz%4")),
        (b"sessionId=%%41", Some(b"%A")),
        (b"sessionId=%4%41", Some(b"%4A")),
        (b"sessionId=a=b", Some(b"a=b")),
        (b"sessionId=a%26b%00%ff", Some(b"a&b\0\xff")),
        (b"sessionid=s", Some(b"s")),
        (b"SESSION_ID=s", Some(b"s")),
        (b"xsessionId=s", None),
        (b"sessionIdx=s", None),
        (b"x?sessionId=s", None),
        (b"sessionId%3Ds", None),
        (b"", None),
    ] {
        assert_eq!(query(text).as_deref(), id, "{}", text.escape_ascii());
    }
}

#[test]
fn an_id_may_have_so_many_bytes_and_no_more() {
    let id = "x".repeat(MAX_ID);
    assert_eq!(query(format!("sessionId={id}").as_bytes()), Some(id.clone().into_bytes()));
    assert_eq!(query(format!("sessionId={id}x&session_id=s").as_bytes()), None);
    let long = |id: &str| result(&format!(r#""resultType":"task","taskId":"{id}""#));
    assert_eq!(task(&long(&id)), Some((id.clone(), None)));
    assert_eq!(task(&long(&(id + "x"))), None);
}

#[test]
fn what_a_scratch_has_held_before_does_not_matter() {
    let mut scratch = Id::new();
    let stream = RequestHead { query: b"sessionId=s1", ..REQUEST };
    let name = b"=?base64?w6k=?=";
    let task = RequestHead { version: b"2026-07-28", method: b"tasks/get", name, ..REQUEST };
    for _ in 0..2 {
        assert_eq!(stream.id(&mut scratch), Some((Kind::Sse, &b"s1"[..])));
        assert_eq!(task.id(&mut scratch), Some((Kind::Task, "é".as_bytes())));
        assert_eq!(REQUEST.id(&mut scratch), None);
    }
}

#[test]
fn base64_is_canonical_and_holds_utf_8() {
    for (field, value) in [
        ("=?base64?w6k=?=", Some("é")),
        ("=?base64?YQ==?=", Some("a")),
        ("=?base64?YWJj?=", Some("abc")),
        ("=?base64?YQ?=", None),
        ("=?base64?YQ=?=", None),
        ("=?base64?YQ===?=", None),
        ("=?base64?Y?=", None),
        ("=?base64?====?=", None),
        ("=?base64?YR==?=", None),
        ("=?base64?YQ==YQ==?=", None),
        ("=?base64?YW-j?=", None),
        ("=?base64? YWJj?=", None),
        ("=?base64?/w==?=", None),
        ("=?base64??=", None),
        ("=?base64?=", Some("=?base64?=")),
        ("=?BASE64?YQ==?=", Some("=?BASE64?YQ==?=")),
        ("=?base64?YQ==", Some("=?base64?YQ==")),
        ("t 1", Some("t 1")),
    ] {
        assert_eq!(name(field.as_bytes()).as_deref(), value.map(str::as_bytes), "{field}");
    }
}

#[test]
fn base64_holds_an_id_of_so_many_bytes_and_no_more() {
    for (len, is_id) in
        [(MAX_ID - 1, true), (MAX_ID, true), (MAX_ID + 1, false), (2 * MAX_ID, false)]
    {
        let value = "x".repeat(len);
        let field = model::name_of(&value);
        assert_eq!(name(field.as_bytes()), is_id.then_some(value.into_bytes()), "{len} bytes");
    }
}
