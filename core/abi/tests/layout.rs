//! The header and the Rust types are one layout: a C program prints the one, and is compared with the other.
#![allow(clippy::unwrap_used, reason = "a failed step must fail the test")]

use std::{fmt::Write, fs, mem::offset_of, process::Command};

use ratebus_abi::{
    Buffer, Component, Decimal, Event, Host, MAGIC, MAJOR, MINOR, Message, Plugin, Rate, SYMBOL, Setup, Text,
    component, end, event, flag, health, level, market, pair, status,
};

/// The C program's body that prints the structs' layout, and what it should print.
macro_rules! layout {
    ($($rust:ident = $c:ident { $($field:ident as $c_field:ident),* $(,)? })*) => {{
        let (mut program, mut expected) = (String::new(), String::new());
        $(
            let (rust, c) = (stringify!($rust), stringify!($c));
            writeln!(program, r#"printf("{rust} %zu %zu\n", sizeof({c}), _Alignof({c}));"#).unwrap();
            writeln!(expected, "{rust} {} {}", size_of::<$rust>(), align_of::<$rust>()).unwrap();
            $(
                let (field, c_field) = (stringify!($field), stringify!($c_field));
                writeln!(
                    program,
                    r#"printf("{rust}.{field} %zu %zu\n", offsetof({c}, {c_field}), sizeof((({c} *)0)->{c_field}));"#
                ).unwrap();
                writeln!(expected, "{rust}.{field} {} {}", offset_of!($rust, $field), size_of_field(|at: &$rust| {
                    std::ptr::from_ref(&at.$field)
                })).unwrap();
            )*
        )*
        (program, expected)
    }};
}

/// The size of what a pointer to a field would point to.
fn size_of_field<T, F>(_: impl FnOnce(&T) -> *const F) -> usize {
    size_of::<F>()
}

/// The same for constants.
macro_rules! constants {
    ($($rust:expr => $c:ident),* $(,)?) => {{
        let (mut program, mut expected) = (String::new(), String::new());
        $(
            let c = stringify!($c);
            writeln!(program, r#"printf("{c} %llu\n", (unsigned long long){c});"#).unwrap();
            writeln!(expected, "{c} {}", $rust).unwrap();
        )*
        (program, expected)
    }};
}

#[test]
fn the_header_says_the_same() {
    let (layouts, expected_layouts) = layout! {
        Text = ratebus_text { at as at, length as length }
        Buffer = ratebus_buffer { at as at, room as room, length as length }
        Decimal = ratebus_decimal { mantissa as mantissa, mantissa_high as mantissa_high, scale as scale }
        Rate = ratebus_rate {
            size as size, flags as flags, source as source, pair as pair, bid as bid, ask as ask,
            event_micros as event_micros, received_micros as received_micros, age_micros as age_micros,
            sequence as sequence, epoch as epoch, stale_after_ms as stale_after_ms, dead_after_ms as dead_after_ms,
            market as market, reserved as reserved,
        }
        Event = ratebus_event {
            size as size, kind as kind, rate as rate, pair as pair, reason as reason, state as state,
            reserved as reserved,
        }
        Message = ratebus_message {
            size as size, reserved as reserved, subject as subject, rate as rate, json as json,
            epoch as epoch, sequence as sequence, published_micros as published_micros,
        }
        Setup = ratebus_setup {
            size as size, keeps_pairs as keeps_pairs, name as name, config as config, pairs as pairs,
        }
        Host = ratebus_host {
            size as size, minor as minor, publish as publish, health as health, log as log, now as now,
            stopped as stopped, count as count, gauge as gauge,
        }
        Component = ratebus_component {
            size as size, kind as kind, r#type as type, create as create, start as start, on_writable as on_writable,
            interests as interests, deliver as deliver, stop as stop, destroy as destroy,
        }
        Plugin = ratebus_plugin {
            magic as magic, major as major, minor as minor, size as size, name as name, version as version,
            build as build, components as components, count as count, stride as stride,
        }
    };
    let (constants, expected_constants) = constants! {
        MAGIC => RATEBUS_MAGIC, MAJOR => RATEBUS_MAJOR, MINOR => RATEBUS_MINOR,
        status::OK => RATEBUS_OK, status::FULL => RATEBUS_FULL, status::CLOSED => RATEBUS_CLOSED,
        status::INVALID => RATEBUS_INVALID, status::FAILED => RATEBUS_FAILED, status::PANICKED => RATEBUS_PANICKED,
        component::SOURCE => RATEBUS_SOURCE, component::SINK => RATEBUS_SINK,
        event::TICK => RATEBUS_TICK, event::RATE => RATEBUS_RATE, event::HEARTBEAT => RATEBUS_HEARTBEAT,
        event::PAIR => RATEBUS_PAIR, event::MARKET => RATEBUS_MARKET, event::DISCONNECTED => RATEBUS_DISCONNECTED,
        event::ALL_PAIRS => RATEBUS_ALL_PAIRS,
        pair::PENDING => RATEBUS_PENDING, pair::SUBSCRIBED => RATEBUS_SUBSCRIBED, pair::REFUSED => RATEBUS_REFUSED,
        market::ONLINE => RATEBUS_ONLINE, market::NOT_MATCHING => RATEBUS_NOT_MATCHING,
        market::MAINTENANCE => RATEBUS_MAINTENANCE, market::UNKNOWN => RATEBUS_UNKNOWN,
        health::STARTING => RATEBUS_STARTING, health::READY => RATEBUS_READY, health::DEGRADED => RATEBUS_DEGRADED,
        health::NOT_READY => RATEBUS_NOT_READY,
        level::ERROR => RATEBUS_ERROR, level::WARN => RATEBUS_WARN, level::INFO => RATEBUS_INFO,
        level::DEBUG => RATEBUS_DEBUG,
        end::FINISHED => RATEBUS_FINISHED, end::CONFIG => RATEBUS_END_CONFIG, end::CONNECT => RATEBUS_END_CONNECT,
        end::PROTOCOL => RATEBUS_END_PROTOCOL, end::AUTH => RATEBUS_END_AUTH,
        end::RATE_LIMITED => RATEBUS_END_RATE_LIMITED, end::STALLED => RATEBUS_END_STALLED,
        end::INTERNAL => RATEBUS_END_INTERNAL,
        flag::REFERENCE => RATEBUS_REFERENCE, flag::SNAPSHOT => RATEBUS_SNAPSHOT,
    };
    assert_complete(&layouts, &constants);
    // Names the exported symbol, so that the compiler checks that the header declares it.
    let program = format!(
        "#include <stdio.h>\n#include \"ratebus_plugin.h\"\nconst ratebus_plugin {SYMBOL};\n\
         int main(void) {{\n{layouts}{constants}return 0;\n}}\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let (source, binary) = (folder.path().join("layout.c"), folder.path().join("layout"));
    fs::write(&source, program).unwrap();
    let include = concat!(env!("CARGO_MANIFEST_DIR"), "/include");
    let flags = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I", include, "-o"];
    assert!(Command::new("cc").args(flags).arg(&binary).arg(&source).status().unwrap().success());
    let output = Command::new(binary).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected_layouts + &expected_constants);
}

/// Every field and constant that the header declares is named in what the test above compares.
fn assert_complete(layouts: &str, constants: &str) {
    let header = without_comments(include_str!("../include/ratebus_plugin.h"));
    let structs = header.split("typedef struct ").skip(1).map(|rest| rest.split_once("\n}").unwrap().0);
    for (name, body) in structs.map(|text| text.split_once(" {").unwrap()) {
        for field in body.split(';').map(str::trim).filter(|field| !field.is_empty()) {
            let of_function = field.split_once("(*").map(|(_, rest)| rest.split(')').next().unwrap());
            let field = of_function.or_else(|| field.rsplit([' ', '*']).next()).unwrap();
            assert!(layouts.contains(&format!("offsetof({name}, {field})")), "{name}.{field} is not compared");
        }
    }
    let enums = header.split("enum {").skip(1).flat_map(|rest| rest.split('}').next().unwrap().split(','));
    for constant in enums.map(|line| line.split('=').next().unwrap().trim()) {
        assert!(constants.contains(&format!("\"{constant} %llu")), "{constant} is not compared");
    }
}

fn without_comments(text: &str) -> String {
    let mut parts = text.split("/*");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |all, part| all + part.split_once("*/").unwrap().1)
}

#[test]
fn a_text_is_cut_between_characters() {
    let mut room = [0; 4];
    let mut buffer = Buffer::new(&mut room);
    #[expect(unsafe_code, reason = "the room is there")]
    // SAFETY: it is `room`.
    unsafe {
        buffer.write("añ€");
    }
    let length = buffer.length;
    assert_eq!(str::from_utf8(&room[..length]), Ok("añ"));
}
