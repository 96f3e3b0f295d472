//! Records that only a request with the id opens.

use affinity::revive::MAX_SEALED;
use proptest::prelude::*;

use super::*;

#[test]
fn a_record_opens_with_the_id_the_secret_and_the_key_of_its_session() {
    let keys = Keys::fresh();
    let other_key = keys.0.key(Kind::Session, b"alice-id", b"a tenant");
    let sealed = keys.record_key("alice-id").seal(&record(), [7; 12]).unwrap();
    let opens = |key: RecordKey| key.open(&mut sealed.clone()) == Some(record());
    assert!(opens(keys.record_key("alice-id")));
    assert!(!opens(keys.record_key("alice-ie")));
    assert!(!opens(keys.record_key("")));
    let key = keys.key("alice-id");
    assert!(opens(RecordKey::new(&SECRET, b"alice-id", key)));
    assert!(!opens(RecordKey::new(&[1; 16], b"alice-id", key)));
    assert!(!opens(RecordKey::new(&SECRET, b"alice-ie", key)));
    assert!(!opens(RecordKey::new(&SECRET, b"alice-id", keys.key("alice-ie"))));
    assert!(!opens(RecordKey::new(&SECRET, b"alice-id", other_key)));
}

#[test]
fn a_record_that_is_changed_or_cut_or_longer_is_refused() {
    let keys = Keys::fresh();
    let key = keys.record_key("id");
    let sealed = key.seal(&record().revived(b"new-id"), [7; 12]).unwrap();
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(key.open(&mut changed).is_none(), "bit {bit}");
    }
    for len in 0..sealed.len() {
        assert!(key.open(&mut sealed[..len].to_vec()).is_none(), "{len} bytes");
    }
    assert!(key.open(&mut [&sealed[..], b"x"].concat()).is_none());
}

#[test]
fn nothing_of_a_session_stands_in_the_memory_in_clear() {
    let keys = Keys::fresh();
    let mapping = Mapping::new(Store::MIN_SIZE);
    let store = mapping.store();
    let id = "a-session-id-of-alice";
    let revived = record().revived(b"an-id-of-the-new-server");
    for (id, record) in [(id, record()), ("another", revived)] {
        let sealed = keys.record_key(id).seal(&record, [3; 12]).unwrap();
        assert!(store.put(keys.key(id), &sealed, Tick(1), all_used(Tick(1))));
    }
    let memory = mapping.bytes();
    let texts =
        [id.as_bytes(), b"an-id-of-the-new", INITIALIZE, b"the location", b"uri/of", b"2025-06-18"];
    for text in texts.iter().flat_map(|text| text.windows(6)) {
        assert!(!memory.windows(6).any(|bytes| bytes == text), "{text:?}");
    }
}

#[test]
fn the_longest_record_has_the_length_that_is_named() {
    let long = vec![b'x'; 8192];
    let record = Record {
        initialize: &long,
        opener: &long[..256],
        uri: &long[..2048],
        version: "12345678901234567890123456789012",
        capabilities: Capabilities::default(),
        owner: owner(""),
        server_id: Some(&long[..1024]),
    };
    let sealed = Keys::fresh().record_key("id").seal(&record, [0; 12]).unwrap();
    assert_eq!(sealed.len() + Capabilities::MAX_LEN, MAX_SEALED);
}

fn some_record(texts: &[Vec<u8>; 4], owner: Owner) -> Record<'_> {
    let [initialize, opener, uri, id] = texts;
    Record {
        initialize,
        opener,
        uri,
        version: "2025-06-18",
        capabilities: Capabilities::default(),
        owner,
        server_id: Some(&id[..]).filter(|id| !id.is_empty()),
    }
}

proptest! {
    #[test]
    fn each_record_is_opened_as_it_was_sealed(
        initialize in proptest::collection::vec(any::<u8>(), 0..9000),
        opener in proptest::collection::vec(any::<u8>(), 0..300),
        uri in proptest::collection::vec(any::<u8>(), 0..300),
        server_id in proptest::collection::vec(0x20u8..0x80, 0..40),
        nonce: [u8; 12],
    ) {
        let texts = [initialize, opener, uri, server_id];
        let record = some_record(&texts, owner("x"));
        let is_id = texts[3].iter().all(u8::is_ascii_graphic);
        let fits = texts[0].len() <= 8192 && texts[1].len() <= 256 && is_id;
        let key = Keys::fresh().record_key("id");
        match key.seal(&record, nonce) {
            Ok(mut sealed) => {
                prop_assert!(fits && sealed.len() <= MAX_SEALED);
                prop_assert_eq!(key.open(&mut sealed), Some(record));
            }
            Err(_) => prop_assert!(!fits),
        }
    }

    #[test]
    fn other_bytes_are_never_opened(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(Keys::fresh().record_key("id").open(&mut bytes), None);
    }
}
