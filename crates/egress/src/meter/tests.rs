use super::*;

const STREAM: &str = "event: message_start\r\n\
data: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-opus-5-5\",\"usage\":{\"input_tokens\":10,\"cache_creation_input_tokens\":7,\"cache_creation\":{\"ephemeral_5m_input_tokens\":3,\"ephemeral_1h_input_tokens\":4},\"cache_read_input_tokens\":20,\"output_tokens\":1,\"service_tier\":\"standard\"}}}\r\n\
\r\n\
event: content_block_delta\n\
data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":999999}}\n\
\n\
event: message_delta\n\
data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":42,\"cache_creation_input_tokens\":7,\"server_tool_use\":{\"web_search_requests\":2}}}\n\
\n\
event: message_stop\n\
data: {\"type\":\"message_stop\"}\n\n";

const TOKENS: Tokens = Tokens {
    input: 10,
    output: 42,
    cache_read: 20,
    cache_write_5m: 3,
    cache_write_1h: 4,
    web_searches: 2,
};

fn meter(content_type: &str) -> Meter {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
    Meter::new(StatusCode::OK, &headers)
}

fn read(content_type: &str, text: &str) -> Reading {
    let mut meter = meter(content_type);
    meter.feed(text.as_bytes());
    meter.reading()
}

#[test]
fn any_cut_of_a_stream_counts_the_same() {
    for size in 1..200 {
        let mut meter = meter("text/event-stream; charset=utf-8");
        STREAM
            .as_bytes()
            .chunks(size)
            .for_each(|chunk| meter.feed(chunk));
        let reading = meter.reading();
        assert_eq!(reading.tokens, Some(TOKENS), "chunks of {size}");
        assert_eq!(reading.model.as_deref(), Some("claude-opus-5-5"));
        assert_eq!((reading.ended, reading.error), (Some(true), None));
    }
}

#[test]
fn a_stream_cut_in_the_middle_keeps_what_was_said() {
    let reading = read("text/event-stream", &STREAM[..STREAM.len() / 2]);
    assert_eq!(
        reading.tokens.map(|tokens| (tokens.input, tokens.output)),
        Some((10, 1))
    );
    assert_eq!(reading.ended, Some(false));
}

#[test]
fn a_stream_without_event_names_is_read_too() {
    let bare: String = STREAM
        .lines()
        .filter(|line| !line.starts_with("event:") && !line.contains("999999"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(read("text/event-stream", &bare).tokens, Some(TOKENS));
}

#[test]
fn an_error_event_is_named() {
    let text = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"secret\"}}\n\n";
    let reading = read("text/event-stream", text);
    assert_eq!(reading.error.as_deref(), Some("overloaded_error"));
}

#[test]
fn a_json_answer_is_counted() {
    let text = r#"{"id":"msg_1","content":[{"type":"text","text":"\"usage\":{}"}],"model":"m","usage":{"input_tokens":5,"output_tokens":6,"inference_geo":"us","speed":"fast"}}"#;
    let reading = read("application/json", text);
    assert_eq!(
        reading.tokens,
        Some(Tokens {
            input: 5,
            output: 6,
            ..Tokens::default()
        })
    );
    assert_eq!(
        reading.terms,
        Terms {
            us_only: true,
            unlisted: true
        }
    );
    assert_eq!(reading.ended, None);
}

#[test]
fn a_json_error_is_named_and_has_no_tokens() {
    let text = r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}"#;
    let reading = read("application/json", text);
    assert_eq!(
        (reading.error.as_deref(), reading.tokens),
        (Some("rate_limit_error"), None)
    );
}

#[test]
fn a_cache_total_without_its_split_is_five_minutes() {
    let text = r#"{"usage":{"cache_creation_input_tokens":9}}"#;
    let tokens = read("application/json", text).tokens.unwrap();
    assert_eq!((tokens.cache_write_5m, tokens.cache_write_1h), (9, 0));
}

#[test]
fn an_endless_line_is_passed_over() {
    let text = format!("data: {}\n\n{STREAM}", "x".repeat(MAX_LINE * 2));
    assert_eq!(read("text/event-stream", &text).tokens, Some(TOKENS));
}

#[test]
fn a_compressed_or_unknown_answer_has_no_count() {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, "application/json".parse().unwrap());
    headers.insert(CONTENT_ENCODING, "gzip".parse().unwrap());
    let mut meter = Meter::new(StatusCode::OK, &headers);
    meter.feed(br#"{"usage":{"input_tokens":5}}"#);
    assert_eq!(meter.reading().tokens, None);
    assert_eq!(read("text/html", STREAM).tokens, None);
}

#[test]
fn what_a_stream_says_is_estimated_as_it_goes_by() {
    let delta = |text: &str| {
        format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}\n\n"
        )
    };
    let text = format!("{}{}", delta("a"), delta(&"x".repeat(400)));
    for size in [1, 7, 1000] {
        let mut meter = meter("text/event-stream");
        text.as_bytes()
            .chunks(size)
            .for_each(|chunk| meter.feed(chunk));
        assert_eq!(meter.reading().said, 101, "chunks of {size}");
    }
    assert_eq!(read("text/event-stream", STREAM).said, 1);
}
