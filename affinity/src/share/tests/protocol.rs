use proptest::prelude::*;

use crate::share::resp::{read, Commands, Item, Malformed, Reply, MAX_ITEMS, MAX_REPLY};

#[derive(Clone, Debug, PartialEq)]
enum Model {
    Simple(String),
    Error(String),
    Number(i64),
    Bulk(Vec<u8>),
    Nil,
    Many(Vec<Model>),
}

impl Model {
    fn write(&self, to: &mut Vec<u8>) {
        match self {
            Model::Simple(text) => to.extend(format!("+{text}\r\n").bytes()),
            Model::Error(text) => to.extend(format!("-{text}\r\n").bytes()),
            Model::Number(number) => to.extend(format!(":{number}\r\n").bytes()),
            Model::Bulk(text) => {
                to.extend(format!("${}\r\n", text.len()).bytes());
                to.extend(text);
                to.extend(b"\r\n");
            }
            Model::Nil => to.extend(b"$-1\r\n"),
            Model::Many(items) => {
                to.extend(format!("*{}\r\n", items.len()).bytes());
                items.iter().for_each(|item| item.write(to));
            }
        }
    }

    fn of(reply: &Reply<'_>) -> Model {
        let one = |item: &Item<'_>| match *item {
            Item::Simple(text) => Model::Simple(String::from_utf8(text.into()).unwrap()),
            Item::Error(text) => Model::Error(String::from_utf8(text.into()).unwrap()),
            Item::Number(number) => Model::Number(number),
            Item::Bulk(text) => Model::Bulk(text.into()),
            Item::Nil => Model::Nil,
        };
        match reply {
            Reply::One(item) => one(item),
            Reply::Many(items) => Model::Many(items.as_slice().iter().map(one).collect()),
        }
    }
}

fn item() -> impl Strategy<Value = Model> {
    prop_oneof![
        "[ -~]{0,40}".prop_map(Model::Simple),
        "[A-Z]{1,9} [ -~]{0,40}".prop_map(Model::Error),
        any::<i64>().prop_map(Model::Number),
        proptest::collection::vec(any::<u8>(), 0..100).prop_map(Model::Bulk),
        Just(Model::Nil),
    ]
}

fn reply() -> impl Strategy<Value = Model> {
    prop_oneof![item(), proptest::collection::vec(item(), 0..=MAX_ITEMS).prop_map(Model::Many)]
}

proptest! {
    #[test]
    fn replies_are_read_however_they_are_cut(
        replies in proptest::collection::vec(reply(), 1..5),
        cuts in proptest::collection::vec(1usize..7, 1..9),
    ) {
        let mut bytes = Vec::new();
        replies.iter().for_each(|reply| reply.write(&mut bytes));
        let (mut arrived, mut begun, mut found) = (0, 0, Vec::new());
        for cut in cuts.iter().cycle() {
            arrived = (arrived + cut).min(bytes.len());
            while let Some((reply, len)) = read(&bytes[begun..arrived]).unwrap() {
                found.push(Model::of(&reply));
                begun += len;
            }
            if arrived == bytes.len() {
                break;
            }
        }
        prop_assert_eq!((found, begun), (replies, bytes.len()));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in "[*$:+\\-0-9\r\nA-Z]{0,60}") {
        if let Ok(Some((_, len))) = read(bytes.as_bytes()) {
            prop_assert!((1..=bytes.len()).contains(&len));
        }
    }
}

#[test]
fn what_no_command_of_ours_is_answered_with_is_refused_at_once() {
    let too_long = format!("${}\r\n", MAX_REPLY + 1);
    let hostile: [&[u8]; 11] = [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"%1\r\n",
        b"*9\r\n",
        b"*1\r\n*1\r\n",
        b"*-2\r\n",
        b"*99999999999999999999\r\n",
        b"$-2\r\n",
        b"$1\r\nabc",
        b":1a\r\n",
        b":+1\r\n",
        too_long.as_bytes(),
    ];
    for bytes in hostile {
        assert!(matches!(read(bytes), Err(Malformed)), "{}", String::from_utf8_lossy(bytes));
    }
    assert!(matches!(read(&[b'+'; 5000]), Err(Malformed)));
    assert!(matches!(read(&b"*1\r\n".repeat(8000)), Err(Malformed)));
}

#[test]
fn commands_are_written_as_arrays_of_texts() {
    let mut commands = Commands::new();
    commands.push(&[&[b"GET"], &[b"a", b"\r\n", b""]]);
    assert_eq!(commands.as_bytes(), b"*2\r\n$3\r\nGET\r\n$3\r\na\r\n\r\n");
    assert!(commands.is_whole());
}
