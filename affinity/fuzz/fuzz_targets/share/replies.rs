//! Replies of a store, whole and in pieces: the same events, none of a session that the store has no value of.

#![no_main]

use affinity::share::asking::Place;
use affinity::share::link::{Answer, Event, Link, Options};
use affinity::share::secret::{Root, Stored};
use affinity::share::subscription::{Heard, Subscription};
use affinity::share::value::Held;
use libfuzzer_sys::fuzz_target;

const PLACE: Place = Place { zone: 0, fingerprint: 7 };

fn options() -> Options {
    Options {
        prefix: b"sticky:".to_vec(),
        user: Vec::new(),
        password: None,
        database: 0,
        timeout: 200,
        zones: vec![b"sessions".to_vec()],
        has_file: true,
    }
}

/// A link that awaits a reply of each kind.
fn link() -> Link<u8> {
    let root = Root::new([1; 32]);
    let mut link = Link::new(options(), Some(root), 1);
    link.connected(0);
    let secret = Stored::write(&root, false);
    let joined = format!("${}\r\n{secret}\r\n", secret.len());
    assert!(matches!(link.receive(joined.as_bytes(), 0), Ok((_, Event::Joined))));
    let held = Held { server: b"10.0.0.1:80", created: 5, ttl: None };
    link.ask(PLACE, 0, 0).unwrap();
    link.claim(PLACE, held, 1000, 0);
    link.keep(PLACE, held, 1000, 0);
    link.prolong(PLACE, 1000, 0);
    link.ask_whether_drains(0, b"10.0.0.1:80", 0);
    link.ping(0);
    link
}

/// How far a link gets with some bytes, which arrive in pieces.
fn run(bytes: &[u8], piece: usize) -> (usize, Vec<String>) {
    let (mut link, mut at, mut arrived, mut events) = (link(), 0, 0, Vec::new());
    while arrived < bytes.len() {
        arrived = (arrived + piece).min(bytes.len());
        loop {
            match link.receive(&bytes[at..arrived], 0) {
                Err(why) => {
                    events.push(why.to_owned());
                    return (at, events);
                }
                Ok((_, Event::Incomplete)) => break,
                Ok((len, event)) => {
                    assert!((1..=arrived - at).contains(&len));
                    at += len;
                    // The fuzzer cannot make a MAC.
                    assert!(!matches!(event, Event::Answer(_, Answer::Held(_) | Answer::Ended, _)));
                    events.push(format!("{event:?}"));
                }
            }
        }
    }
    (at, events)
}

fuzz_target!(|input: &[u8]| {
    let Some((&piece, bytes)) = input.split_first() else { return };
    let (whole_at, whole) = run(bytes, bytes.len().max(1));
    let (at, pieces) = run(bytes, usize::from(piece).max(1));
    // An error may be seen earlier or later in pieces, nothing else.
    let common = whole.len().min(pieces.len()).saturating_sub(1);
    assert_eq!(whole[..common], pieces[..common]);
    assert!(at <= bytes.len() && whole_at <= bytes.len());

    let mut subscription = Subscription::new(options(), Root::new([1; 32]).keys());
    subscription.connected(0);
    let mut at = 0;
    while let Ok((len, heard)) = subscription.receive(&bytes[at..], 0) {
        assert!(!matches!(heard, Heard::Message(_)));
        if matches!(heard, Heard::Incomplete) {
            break;
        }
        at += len;
    }
});
