use crate::share::message::{Message, Origin, Senders};
use crate::share::secret::{Root, Stored};
use crate::share::value::{Held, Value};
use crate::table::Span;

const ZONE: &[u8] = b"sessions";

fn held(ttl: Option<Span>) -> Value<'static> {
    Value::Held(Held { server: b"127.0.0.1:8001", created: 1_795_000_000_123, ttl })
}

#[test]
fn a_value_is_believed_for_its_session_only() {
    let (keys, others) = (Root::new([1; 32]).keys(), Root::new([2; 32]).keys());
    let drains = Value::Drains(b"127.0.0.1:8001", 1_795_000_000_123);
    let serves = Value::Serves(b"127.0.0.1:8001");
    for value in [held(None), held(Some(Span(77))), Value::Ended, drains, serves] {
        let bytes = value.seal(&keys, ZONE, 7);
        let bytes = bytes.as_slice();
        assert_eq!(Value::open(&keys, ZONE, 7, bytes), Some(value));
        assert_eq!(Value::open(&others, ZONE, 7, bytes), None);
        assert_eq!(Value::open(&keys, ZONE, 8, bytes), None);
        assert_eq!(Value::open(&keys, b"session", 7, bytes), None);
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            assert_eq!(Value::open(&keys, ZONE, 7, &changed), None);
            assert_eq!(Value::open(&keys, ZONE, 7, &bytes[..at]), None);
        }
    }
}

/// Redis keeps a text of up to 44 bytes in one allocation with its header.
#[test]
fn a_value_is_short() {
    let keys = Root::new([1; 32]).keys();
    let value = Value::Held(Held { server: b"255.255.255.255:65535", created: 0, ttl: None });
    assert!(value.seal(&keys, ZONE, 7).as_slice().len() <= 44);
}

#[test]
fn a_message_is_believed_once() {
    let (keys, others) = (Root::new([1; 32]).keys(), Root::new([2; 32]).keys());
    let message = Message { zone: ZONE, fingerprint: 7, value: held(None) };
    let origin = Origin { sender: 5, number: 1 };
    let bytes = message.seal(&keys, origin);
    assert_eq!(Message::open(&keys, bytes.as_slice()), Some((origin, message)));
    assert_eq!(Message::open(&others, bytes.as_slice()), None);
    for at in 0..bytes.as_slice().len() {
        let mut changed = bytes.as_slice().to_vec();
        changed[at] ^= 1;
        assert_eq!(Message::open(&keys, &changed), None);
    }
    let mut senders = Senders::default();
    let is_new = |(sender, number)| Origin { sender, number };
    let heard = [(5, 1), (5, 1), (5, 3), (5, 2), (6, 1)].map(is_new);
    assert_eq!(heard.map(|origin| senders.is_new(origin)), [true, false, true, false, true]);
}

/// A value is no message, and the other way round.
#[test]
fn a_mac_is_for_one_purpose() {
    let keys = Root::new([1; 32]).keys();
    let value = Value::Ended.seal(&keys, ZONE, 7);
    assert_eq!(Message::open(&keys, value.as_slice()), None);
}

#[test]
fn the_secret_of_a_file_or_of_the_store() {
    assert_eq!(Root::from_file(&[7; 47]), None);
    let (short, long) = (Root::from_file(&[7; 48]).unwrap(), Root::from_file(&[7; 80]).unwrap());
    assert_ne!(short, long);
    assert_eq!(Root::from_words(short.to_words()), short);
    let (check, root) = (short.check(), Some(short));
    assert_eq!(Stored::read(Stored::write(&short, true).as_bytes()), Some(Stored { check, root }));
    let text = Stored::write(&short, false);
    assert_eq!(Stored::read(text.as_bytes()), Some(Stored { check, root: None }));
    for text in ["", "1", "2 00", "1 0g", "1 00 0", &format!("{text} {}", "0".repeat(64))] {
        assert_eq!(Stored::read(text.as_bytes()), None, "{text}");
    }
}
