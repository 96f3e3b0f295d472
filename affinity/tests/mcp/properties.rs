//! Random words: each reader agrees with a simple model of it.

use super::*;

proptest! {
    #[test]
    fn a_query_means_what_percent_encoding_says(words in words(QUERY)) {
        prop_assert_eq!(query(&words), model::query(&words));
    }

    #[test]
    fn a_name_means_what_base64_says(
        bytes in prop::collection::vec(any::<u8>(), 0..20),
        text in "[ -~é]{0,20}",
        damage in prop::option::of((any::<prop::sample::Index>(), "[A-Za-z0-9+/=?]")),
    ) {
        for bytes in [&bytes[..], text.as_bytes()] {
            let mut field = format!("=?base64?{}?=", BASE64_STANDARD.encode(bytes));
            if let Some((at, with)) = &damage {
                let at = at.index(field.len());
                field.replace_range(at..at + 1, with);
            }
            prop_assert_eq!(name(field.as_bytes()), model::name(field.as_bytes()));
            prop_assert_eq!(name(bytes), model::name(bytes));
        }
    }

    #[test]
    fn an_endpoint_is_the_one_of_the_whole_stream(words in words(ENDPOINT), cut in 1usize..20) {
        let whole = read(Watch::Endpoint, [&words[..]]);
        prop_assert_eq!(read(Watch::Endpoint, words.chunks(cut)), whole.clone());
        agree_on_endpoint(whole, model::endpoint(&words, URI))?;
    }

    #[test]
    fn a_target_is_where_the_url_crate_leads(words in words(REFERENCE), cut in 1usize..20) {
        let event = [b"event:endpoint\ndata:", &words[..], b"\n\n"].concat();
        let whole = read(Watch::Endpoint, [&event[..]]);
        prop_assert_eq!(read(Watch::Endpoint, event.chunks(cut)), whole.clone());
        agree_on_endpoint(whole, model::reference(&words, URI))?;
    }

    #[test]
    fn a_task_is_what_serde_json_says(text in message(), after in "[x\n}{]?", cut in 1usize..20) {
        let text = text + &after;
        let whole = read(Watch::Task(BodyFormat::Json), [text.as_bytes()]);
        prop_assert_eq!(read(Watch::Task(BodyFormat::Json), text.as_bytes().chunks(cut)), whole.clone());
        agree(whole, model::message(text.as_bytes(), false))?;
    }

    #[test]
    fn a_task_is_the_first_response_of_a_stream(
        messages in prop::collection::vec((message(), event()), 0..4),
        cut in 1usize..20,
    ) {
        let stream: String = messages
            .into_iter()
            .map(|(message, (before, line, after))| {
                format!("{before}data:{}{after}", message.replace('\n', line))
            })
            .collect();
        let whole = read(Watch::Task(BodyFormat::Sse), [stream.as_bytes()]);
        prop_assert_eq!(read(Watch::Task(BodyFormat::Sse), stream.as_bytes().chunks(cut)), whole.clone());
        agree(whole, model::messages(stream.as_bytes()))?;
    }
}

proptest! {
    #[test]
    fn an_initialize_is_what_serde_json_says(words in words(REQUESTS), mark in any::<bool>()) {
        let mark = if mark { "\u{feff}" } else { "" };
        let body = [mark.as_bytes(), &words].concat();
        let read = initialize::is_initialize(&body);
        if let Some(meant) = model::is_initialize(&body) {
            prop_assert_eq!(read, meant);
        }
    }

    #[test]
    fn an_initialize_of_whole_messages_is_found(
        messages in prop::collection::vec(prop::sample::select(MESSAGES), 1..4),
        is_batch in any::<bool>(),
    ) {
        let body = match is_batch {
            true => format!("[{}]", messages.join(",")),
            false => messages.concat(),
        };
        let read = initialize::is_initialize(body.as_bytes());
        if let Some(meant) = model::is_initialize(body.as_bytes()) {
            prop_assert_eq!(read, meant);
        }
    }
}

const REQUESTS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"method\"",
    "\"initialize\"",
    "\"method\":\"initialize\"",
    "\"ping\"",
    "\"\\u006dethod\":",
    "\"params\":{",
    "1",
    "null",
    " ",
    "\n",
    "\"",
    "\\",
    "é",
];

const MESSAGES: &[&str] = &[
    r#"{"method":"initialize"}"#,
    r#"{"method":"initialize","method":"ping"}"#,
    r#"{"method":"ping","m\u0065thod":"initialize"}"#,
    r#"{"params":{"method":"initialize"}}"#,
    r#"{"method":"ping"}"#,
    r#"["method","initialize"]"#,
    r#""initialize""#,
    "1e5",
];

fn agree_on_endpoint(learned: BodyId, meant: model::Endpoint) -> Result<(), TestCaseError> {
    let meant = match meant {
        model::Endpoint::None => None,
        model::Endpoint::Id(id) | model::Endpoint::Target(id) => Some((Kind::Sse, id, None)),
        model::Endpoint::Beyond => return Ok(()),
    };
    prop_assert_eq!(learned, meant);
    Ok(())
}

fn agree(learned: BodyId, meant: model::Message) -> Result<(), TestCaseError> {
    match (learned, meant) {
        (_, model::Message::Beyond) => {}
        (Some((kind, id, ttl)), model::Message::Task(meant_id, meant_ttl)) => {
            prop_assert_eq!((kind, id), (Kind::Task, meant_id));
            let ttl = ttl.map(Span::as_millis);
            prop_assert!(model::is_ttl(ttl, meant_ttl), "{:?} for {:?}", ttl, meant_ttl);
        }
        (learned, meant) => {
            prop_assert!(learned.is_none() && !matches!(meant, model::Message::Task(..)));
        }
    }
    Ok(())
}

fn words(of: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(of), 0..40).prop_map(|words| words.concat().into())
}

const QUERY: &[&str] = &[
    "sessionId=",
    "session_id=",
    "sessionId",
    "session",
    "Id",
    "&",
    "&",
    "=",
    "%",
    "%4",
    "%41",
    "%2B",
    "%00",
    "%ff",
    "+",
    "#",
    "?",
    "x",
    "7",
    "é",
];

const REFERENCE: &[&str] = &[
    "/",
    "/",
    "?",
    "&",
    "=",
    "#",
    ";",
    ":",
    "//",
    ".",
    "..",
    "/../",
    "/./",
    "%2e",
    "%2E",
    "%",
    "%41",
    "http:",
    "https://",
    "h",
    "x:",
    "messages",
    "sse",
    "sessionId=",
    "session_id",
    "clientId=",
    "5f0c1a2b",
    "a1b2c3d4",
    "key=",
    "s",
    "é",
    "\"",
    "{",
    "}",
    "\\",
    "'",
    " ",
    "\t",
    "@",
    "[",
    "]",
    "~",
];

const ENDPOINT: &[&str] = &[
    "event: endpoint",
    "event:",
    "event: x",
    "endpoint",
    "data: /m?",
    "data:",
    "data: ?sessionId=7",
    "?",
    "sessionId=",
    "session_id=",
    "&",
    "#",
    "%41",
    "%",
    "4",
    "x",
    " ",
    ":",
    "\n",
    "\n",
    "\n\n",
    "\r",
    "\r\n",
    "\u{feff}",
    "\0",
];

/// A JSON-RPC message, mostly valid, with line ends between its tokens.
fn message() -> impl Strategy<Value = String> {
    let members = |names: &'static [&'static str], value: BoxedStrategy<String>| {
        let member =
            (prop::sample::select(names), value).prop_map(|(n, v)| format!("\"{n}\" :\n{v}"));
        prop::collection::vec(member, 0..5)
            .prop_map(|members| format!("{{{}}}", members.join(",\n")))
    };
    let leaf = prop_oneof![
        4 => Just("\"task\"".to_owned()),
        4 => Just("\"t-1\"".to_owned()),
        1 => "\"[a-z\\\\\"\u{0}é😀]{0,9}\"",
        1 => "\"(\\\\[\"\\\\/bfnrtu]|\\\\u[dD][89cC][0-9a-f]{2}|\\\\u00[0-9a-f]{2}|x){0,4}\"",
        2 => "-?[0-9]{1,5}(\\.[0-9]{0,3})?([eE][-+]?[0-9]{0,2})?",
        1 => Just("null".to_owned()),
        1 => Just("tru".to_owned()),
    ];
    const NAMES: &[&str] =
        &["resultType", "taskId", "ttlMs", "result", "task\\u0049d", "resultTypes", "", "error"];
    let value = leaf.prop_recursive(3, 20, 4, move |inner| {
        prop_oneof![
            members(NAMES, inner.clone().boxed()),
            prop::collection::vec(inner, 0..3).prop_map(|values| format!("[{}]", values.join(","))),
        ]
    });
    let result = members(
        &["resultType", "taskId", "resultType", "taskId", "ttlMs", "result\\u0054ype", "x"],
        value.clone().boxed(),
    );
    let good = prop::sample::select(
        &[
            r#"{"resultType":"task","taskId":"t-1"}"#,
            r#"{"ttlMs":6e4,"taskId":"t","resultType":"task"}"#,
        ][..],
    );
    let outer = prop_oneof![4 => result, 2 => value, 2 => good.prop_map(str::to_owned)];
    members(&["result", "result", "result", "error", "method", "res\\u0075lt"], outer.boxed())
}

/// The text before an event's message, the line ends, and the text behind it.
fn event() -> impl Strategy<Value = (&'static str, &'static str, &'static str)> {
    (
        prop::sample::select(
            &["", "event: message\n", "event: x\r", ": x\r\n", "\u{feff}", "\n"][..],
        ),
        prop::sample::select(&["", "\ndata:", "\rdata: ", "\r\ndata:", "\n"][..]),
        prop::sample::select(&["\n\n", "\r\r", "\r\n\r\n", "\nevent:x\n\n", "\n", ""][..]),
    )
}
