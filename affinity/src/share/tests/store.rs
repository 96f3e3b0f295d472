//! A store in memory, for as many links as there are.

use std::collections::HashMap;

use crate::share::link::{Event, Link};
use crate::share::resp::{read, Item, Reply};

#[derive(Default)]
pub struct Store {
    pub values: HashMap<Vec<u8>, Vec<u8>>,
    pub published: Vec<Vec<u8>>,
    pub commands: Vec<String>,
    queued: Option<Vec<Vec<Vec<u8>>>>,
}

impl Store {
    /// Replies to all commands that a link has to send.
    pub fn serve<T>(&mut self, link: &mut Link<T>) -> Vec<u8> {
        let input = link.output().as_bytes().to_vec();
        link.output().clear();
        let (mut at, mut replies) = (0, Vec::new());
        while let Some((reply, len)) = read(&input[at..]).unwrap() {
            at += len;
            let Reply::Many(items) = reply else { panic!("no array") };
            let word = |item: &Item<'_>| match item {
                Item::Bulk(word) => word.to_vec(),
                _ => panic!("no text"),
            };
            let words: Vec<Vec<u8>> = items.as_slice().iter().map(word).collect();
            self.commands.push(String::from_utf8_lossy(&words[0]).into());
            replies.extend(self.command(words));
        }
        assert_eq!(at, input.len());
        replies
    }

    fn command(&mut self, words: Vec<Vec<u8>>) -> Vec<u8> {
        match (&mut self.queued, words[0].as_slice()) {
            (Some(queued), b"EXEC") => {
                let queued = std::mem::take(queued);
                self.queued = None;
                let mut reply = format!("*{}\r\n", queued.len()).into_bytes();
                queued.into_iter().for_each(|words| reply.extend(self.run(&words)));
                reply
            }
            (Some(queued), _) => {
                queued.push(words);
                b"+QUEUED\r\n".to_vec()
            }
            (None, b"MULTI") => {
                self.queued = Some(Vec::new());
                b"+OK\r\n".to_vec()
            }
            (None, _) => self.run(&words),
        }
    }

    fn run(&mut self, words: &[Vec<u8>]) -> Vec<u8> {
        let text = |value: Option<&Vec<u8>>| match value {
            Some(value) => [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat(),
            None => b"$-1\r\n".to_vec(),
        };
        let has = |word: &[u8]| words.iter().any(|it| it == word);
        match words[0].as_slice() {
            b"GET" => text(self.values.get(&words[1])),
            b"SET" if has(b"NX") && self.values.contains_key(&words[1]) => text(None),
            b"SET" => {
                let before = self.values.insert(words[1].clone(), words[2].clone());
                if has(b"GET") {
                    text(before.as_ref())
                } else {
                    b"+OK\r\n".to_vec()
                }
            }
            b"EXISTS" | b"PEXPIRE" => {
                format!(":{}\r\n", i32::from(self.values.contains_key(&words[1]))).into()
            }
            b"PUBLISH" => {
                self.published.push(words[2].clone());
                b":1\r\n".to_vec()
            }
            b"AUTH" | b"SELECT" | b"PING" => b"+OK\r\n".to_vec(),
            other => panic!("{}", String::from_utf8_lossy(other)),
        }
    }

    /// Serves a link until it has nothing more to send. Returns its events as text.
    pub fn talk(&mut self, link: &mut Link<char>, now: u64) -> Vec<String> {
        let mut events = Vec::new();
        loop {
            let replies = self.serve(link);
            if replies.is_empty() {
                return events;
            }
            let mut at = 0;
            while at < replies.len() {
                let (len, event) = link.receive(&replies[at..], now).unwrap();
                at += len;
                match event {
                    Event::Quiet => (),
                    event => events.push(format!("{event:?}")),
                }
            }
        }
    }
}
