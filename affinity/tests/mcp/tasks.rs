//! Tasks in results of `tools/call`, and the limits of what is read.

use super::*;

#[test]
fn a_task_is_learned_from_a_result_with_its_time_to_live() {
    assert_eq!(task(&result(TASK)), t1(Some(60_032)));
}

#[test]
fn members_come_in_any_order_with_anything_between_them() {
    let body = r#" { "result" : { "_meta":{"taskId":"no","resultType":"complete","ttlMs":1},
        "ttlMs" : null , "x":[[{"taskId":"no"}],"taskId",-1.5e+3,true,false,null,{}],
        "taskId":"t-1", "resultType":"task" } , "id":"taskId", "jsonrpc":"2.0" } "#;
    assert_eq!(task(body), t1(None));
}

#[test]
fn a_result_of_another_type_is_no_task() {
    for members in [
        r#""resultType":"complete","taskId":"t-1""#,
        r#""resultType":"task""#,
        r#""taskId":"t-1""#,
        r#""resultType":"task","taskId":"""#,
        r#""resultType":"task","taskId":7"#,
        r#""resultType":"tasks","taskId":"t-1""#,
        r#""resultType":["task"],"taskId":"t-1""#,
        r#""resultType":"task","task":{"taskId":"t-1"}"#,
        r#""resultType":"task","taskId":["t-1"]"#,
        "",
    ] {
        assert_eq!(task(&result(members)), None, "{members}");
    }
    for body in [
        r#"{"error":{"resultType":"task","taskId":"t-1"}}"#,
        r#"{"params":{"resultType":"task","taskId":"t-1"}}"#,
        r#"{"resultType":"task","taskId":"t-1"}"#,
        r#"{"result":[{"resultType":"task","taskId":"t-1"}]}"#,
        r#"{"x":{"result":{"resultType":"task","taskId":"t-1"}}}"#,
        r#"[{"result":{"resultType":"task","taskId":"t-1"}}]"#,
        r#"[{"result":1},{"resultType":"task","taskId":"t-1"}]"#,
        r#"{"result":[{"resultType":1},"task",{"taskId":1},"t-1"]}"#,
        r#""task""#,
        "1 ",
    ] {
        assert_eq!(task(body), None, "{body}");
    }
}

#[test]
fn of_two_members_with_one_name_the_last_counts() {
    let twice =
        r#""taskId":"x","taskId":"t-1","resultType":1,"resultType":"task","ttlMs":1,"ttlMs":64"#;
    assert_eq!(task(&result(twice)), t1(Some(64)));
    let twice = r#""resultType":"x","resultType":"task","taskId":"t-1","ttlMs":1,"ttlMs":null"#;
    assert_eq!(task(&result(twice)), t1(None));
    assert_eq!(task(&result(r#""resultType":"task","taskId":"x","taskId":null"#)), None);
    assert_eq!(task(&result(r#""taskId":"x","resultType":"task","resultType":0"#)), None);
    assert_eq!(
        task(&format!(r#"{{"result":{{"ttlMs":1}},"result":{{{TASK}}}}}"#)),
        t1(Some(60_032))
    );
    assert_eq!(task(&format!(r#"{{"result":{{{TASK}}},"result":null}}"#)), None);
    assert_eq!(task(&format!(r#"{{"result":{{{TASK}}},"result":{{}}}}"#)), None);
}

#[test]
fn names_and_values_may_be_escaped() {
    let members =
        r#""result\u0054ype":"\u0074ask","t\u0061skId":"\"\\\/\b\f\n\r\té\u00e9\ud83d\uDE00""#;
    assert_eq!(task(&result(members)).unwrap().0, "\"\\/\u{8}\u{c}\n\r\téé😀");
}

#[test]
fn a_time_to_live_that_makes_no_sense_is_none_and_a_huge_one_the_longest() {
    let ttl = |text: &str| {
        task(&result(&format!(r#""resultType":"task","taskId":"t-1","ttlMs":{text}"#))).unwrap().1
    };
    assert_eq!(ttl("6.4e4"), Some(64_000));
    for none in ["null", "0", "-1", "-1e9", "0.9", "\"60000\"", "[60000]", "true"] {
        assert_eq!(ttl(none), None, "{none}");
    }
    assert_eq!(ttl("1e400"), Some(Span::from_millis(u64::MAX).as_millis()));
}

#[test]
fn a_text_that_is_no_json_has_no_task() {
    let good = result(TASK);
    for bad in [
        format!("x{good}"),
        format!("{{{good}"),
        good.replace("\"jsonrpc\":", "\"jsonrpc\"::"),
        good.replace(":1,", ":01,"),
        good.replace(":1,", ":-,"),
        good.replace(":1,", ":1.,"),
        good.replace(":1,", ":1e,"),
        good.replace(":1,", ":.5,"),
        good.replace(":1,", ":+1,"),
        good.replace(":1,", ":NaN,"),
        good.replace(":1,", ":nul,"),
        good.replace(":1,", ":truee,"),
        good.replace(":1,", ":[1},"),
        good.replace(":1,", ":[1,],"),
        good.replace(":1,", ":1,,"),
        good.replace("2.0", "2\n0"),
        good.replace("2.0", "2\0"),
        good.replace("2.0", r"\x"),
        good.replace("2.0", r"\u12g4"),
        good.replace("2.0", r"\ud83d"),
        good.replace("2.0", r"\ud83dx"),
        good.replace("2.0", r"\ud83d\n"),
        good.replace("2.0", r"\ud83d\u0041"),
        good.replace("2.0", r"\ude00"),
        good.replace("60032}", "60032,}"),
        good.replace("60032}", "60032]"),
    ] {
        assert_ne!(bad, good);
        assert_eq!(task(&bad), None, "{bad}");
    }
    for bytes in
        [&b"\xff"[..], b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x28"]
    {
        let first = [b"{\"a\":\"", bytes, b"\",", &good.as_bytes()[1..]].concat();
        let last = [&good.as_bytes()[..good.len() - 1], b",\"a\":\"", bytes, b"\"}"].concat();
        for bad in [first, last] {
            assert_eq!(
                learned(Watch::Task(BodyFormat::Json), &bad),
                None,
                "{}",
                bad.escape_ascii()
            );
        }
    }
}

#[test]
fn a_task_is_learned_with_the_last_brace() {
    let body = result(TASK);
    let (most, last) = body.split_at(body.len() - 1);
    let mut reader = Reader::new(Watch::Task(BodyFormat::Json), b"").unwrap();
    assert_eq!(reader.feed(most.as_bytes()), Progress::More);
    assert!(
        matches!(reader.feed(last.as_bytes()), Progress::Found(learned) if learned.id == b"t-1")
    );
}

#[test]
fn what_follows_the_message_does_not_matter() {
    assert_eq!(task(&(result(TASK) + "x")), t1(Some(60_032)));
    assert_eq!(task(&(result("") + &result(TASK))), None);
}

#[test]
fn in_a_stream_a_task_may_follow_notifications_and_rubbish() {
    let progress =
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"taskId":"no"}}"#;
    let body = format!(
        "id: 1\ndata:\n\nevent: message\ndata: {progress}\n\ndata: {{rubbish\n\nevent: ping\n\
         data: {}\n\nevent: message\r\ndata: {}\r\n\r\n",
        result(r#""resultType":"task","taskId":"no""#),
        result(TASK)
    );
    assert_eq!(task_as(BodyFormat::Sse, &body), t1(Some(60_032)));
}

#[test]
fn in_a_stream_a_message_may_have_several_lines() {
    let body = format!("data: {}\n\n", result(TASK).replace(',', ",\ndata:"));
    assert_eq!(task_as(BodyFormat::Sse, &body), t1(Some(60_032)));
    let body = format!("data: {}\n\n", result(TASK).replace("t-1", "t\ndata: -1"));
    assert_eq!(task_as(BodyFormat::Sse, &body), None);
}

#[test]
fn a_stream_has_no_more_to_say_after_the_response() {
    let after = |response: &str| format!("data: {response}\n\ndata: {}\n\n", result(TASK));
    assert_eq!(task_as(BodyFormat::Sse, &after(&result(""))), None);
    assert_eq!(task_as(BodyFormat::Sse, &after(r#"{"error":{}}"#)), None);
    assert_eq!(task_as(BodyFormat::Sse, &after(r#"{"method":"x"}"#)), t1(Some(60_032)));
    let of_another_type = format!("event: x\ndata: {{\"error\":{{}}}}\n\n{}", after("{}"));
    assert_eq!(task_as(BodyFormat::Sse, &of_another_type), t1(Some(60_032)));
    let mut reader = Reader::new(Watch::Task(BodyFormat::Sse), b"").unwrap();
    assert_eq!(reader.feed(b"data: {\"result\":{}}\n\n"), Progress::Nothing);
    assert_eq!(reader.feed(format!("data: {}\n\n", result(TASK)).as_bytes()), Progress::Nothing);
}

#[test]
fn a_depth_bomb_has_no_task_and_64_levels_are_read() {
    let nested = |depth| {
        format!(r#"{{"a":{}{},{}"#, "[".repeat(depth), "]".repeat(depth), &result(TASK)[1..])
    };
    assert_eq!(
        read(Watch::Task(BodyFormat::Json), [nested(63).as_bytes()]).map(|t| t.1),
        Some(b"t-1".to_vec())
    );
    assert_eq!(read(Watch::Task(BodyFormat::Json), [nested(64).as_bytes()]), None);
    let unlike = format!(r#"{{"result":{{{TASK}}},"a":{}{}"#, "[".repeat(64), "]".repeat(65));
    assert_eq!(read(Watch::Task(BodyFormat::Json), [unlike.as_bytes()]), None);
    let bomb = "{\"a\":".repeat(10_000);
    assert_eq!(read(Watch::Task(BodyFormat::Json), bomb.as_bytes().chunks(4096)), None);
}

#[test]
fn nothing_is_looked_at_beyond_the_limit() {
    let last = |watch, size: usize, end: &str, fill: &dyn Fn(usize) -> String| {
        let body = format!("{}{end}", fill(size - end.len()));
        assert_eq!(body.len(), size);
        read(watch, body.as_bytes().chunks(5000)).is_some()
    };
    let members = result(TASK);
    for (watch, end, fill) in [
        (
            Watch::Task(BodyFormat::Json),
            &members[..],
            &(|n| " ".repeat(n)) as &dyn Fn(usize) -> String,
        ),
        (Watch::Endpoint, "\nevent: endpoint\ndata: ?sessionId=s\n\n", &|n| ":".repeat(n)),
    ] {
        assert!(last(watch, MAX_WATCHED, end, fill));
        assert!(!last(watch, MAX_WATCHED + 1, end, fill));
    }
    let number = format!("{{\"a\":{}", "1".repeat(10 << 20));
    let mut reader = Reader::new(Watch::Task(BodyFormat::Json), b"").unwrap();
    assert_eq!(reader.feed(number.as_bytes()), Progress::Nothing);
    assert_eq!(reader.feed(b"}"), Progress::Nothing);
}
