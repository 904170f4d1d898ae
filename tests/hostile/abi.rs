//! Guests that break what was agreed between host and guest, below the contract: how values are passed, and who owns what.

use super::{Attack, CPU, End};
use crate::harness::wat;

/// An app that answers `/good` and otherwise `$misbehave`s, with something else in the place of a part of it. The part is
/// in use only while `$hostile` is set, which that function does.
fn odd(name: &str, misbehave: &str, from: &str, to: &str) -> String {
    let functions = format!(
        r#"
        (func $call
          (if (call $at "/good")
            (then (call $good))
            (else (call $misbehave))))
        (func $good (local $length i32)
          (loop $more
            (if (i32.gt_s (call $read (i32.const 4)) (i32.const 0)) (then
              (memory.copy (i32.add (i32.const 0x90) (local.get $length)) (global.get $data) (global.get $data_length))
              (local.set $length (i32.add (local.get $length) (global.get $data_length)))
              (br $more))))
          (call $body (i32.const 0x90) (local.get $length)))
        {misbehave}"#
    );
    let path = wat(&format!("hostile-{name}"), &functions);
    if !from.is_empty() {
        let text = std::fs::read_to_string(&path).expect("a guest is there");
        let changed = text.replace(from, to);
        assert_ne!(text, changed, "{name}");
        std::fs::write(&path, changed).expect("the target directory can be written");
    }
    path
}

fn attack(app: String, arguments: &[&str], end: End, log: &str) {
    Attack {
        app,
        path: "/",
        arguments,
        end,
        log,
    }
    .prove();
}

/// After the response to a bad request, whose status is not 200.
const DONE: &str = r#"(func (export "done") (param i32)"#;

#[test]
fn never_ends_cleaning_up() {
    let app = odd(
        "done-spins",
        "(func $misbehave (call $status (i32.const 201)))",
        DONE,
        r#"(func (export "done") (param i32)
            (loop $more (br_if $more (i32.eq (i32.load16_u (i32.const 0x14)) (i32.const 201))))"#,
    );
    attack(
        app,
        &CPU,
        End::Status(500),
        "exhausted a limit: --limit-request-cpu 0.05 s",
    );
}

#[test]
fn traps_while_it_cleans_up() {
    let app = odd(
        "done-traps",
        "(func $misbehave (call $status (i32.const 201)))",
        DONE,
        r#"(func (export "done") (param i32)
            (if (i32.eq (i32.load16_u (i32.const 0x14)) (i32.const 201)) (then (unreachable)))"#,
    );
    attack(app, &[], End::Status(500), "trapped: wasm trap: wasm `unreachable`");
}

/// What it does when the host asks it for memory, for a block of the request body: it has asked for the environ before.
fn allocates(name: &str, how: &str) -> String {
    odd(
        name,
        r#"(func $misbehave (global.set $top (i32.const -1)) (drop (call $read (i32.const 5))))"#,
        "(local $start i32) (local $missing i32)\n",
        &format!(
            "(local $start i32) (local $missing i32)\n (if (i32.eq (global.get $top) (i32.const -1)) (then {how}))\n"
        ),
    )
}

#[test]
fn allocates_outside_of_its_memory() {
    let app = allocates("realloc-outside", "(return (i32.const -8))");
    attack(app, &[], End::Status(500), "hostile-realloc-outside: POST /: trapped: ");
}

#[test]
fn allocates_where_nothing_may_be() {
    let app = allocates("realloc-twice", "(return (i32.const 0x7fffffff))");
    attack(app, &[], End::Status(500), "hostile-realloc-twice: POST /: trapped: ");
}

#[test]
fn never_ends_allocating() {
    let app = allocates("realloc-spins", "(loop $more (br $more))");
    attack(
        app,
        &CPU,
        End::Status(500),
        "exhausted a limit: --limit-request-cpu 0.05 s",
    );
}

#[test]
fn allocates_all_memory_that_there_is() {
    let app = allocates(
        "realloc-grows",
        "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (unreachable)",
    );
    attack(app, &[], End::Status(500), "exhausted a limit: --max-memory 256.0 MiB");
}

/// A test for each guest that needs no other allocator.
macro_rules! breaches {
    ($($name:ident: $app:literal $misbehave:literal $arguments:expr => $log:literal;)*) => {
        $(
            #[test]
            fn $name() {
                attack(odd($app, $misbehave, "", ""), &$arguments, End::Status(500), $log);
            }
        )*
    };
}

breaches! {
    returns_a_list_of_four_billion_fields: "fields-claimed"
        "(func $misbehave (i32.store (i32.const 0x24) (i32.const -1)))"
        [] => "hostile-fields-claimed: POST /: trapped: ";
    returns_fields_beyond_its_memory: "fields-outside"
        "(func $misbehave (i32.store (i32.const 0x20) (i32.const -16)) (i32.store (i32.const 0x24) (i32.const 10)))"
        [] => "hostile-fields-outside: POST /: trapped: ";
    // One string of a megabyte, and a list that has it for a name thousands of times: little to hold, and much to copy.
    returns_one_field_ten_thousand_times: "fields-shared"
        "(func $misbehave (local $text i32) (local $list i32) (local $at i32)
            (local.set $text (call $letters (i32.const 1000000)))
            (local.set $list (call $realloc (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 160000)))
            (i32.store (i32.const 0x20) (local.get $list))
            (i32.store (i32.const 0x24) (i32.const 10000))
            (loop $more
              (call $string (i32.add (local.get $list) (local.get $at)) (local.get $text) (i32.const 1000000))
              (local.set $at (i32.add (local.get $at) (i32.const 8)))
              (br_if $more (i32.lt_u (local.get $at) (i32.const 160000)))))"
        [] => "exhausted a limit: --limit-response-block 64.0 MiB";
    returns_what_is_no_text: "no-text"
        r#"(func $misbehave (call $header "A" "b\ff\fe"))"#
        [] => "hostile-no-text: POST /: trapped: ";
    returns_a_variant_that_there_is_not: "no-variant"
        "(func $misbehave (i32.store8 (i32.const 0x28) (i32.const 77)))"
        [] => "hostile-no-variant: POST /: trapped: ";
    returns_a_handle_that_it_has_not: "no-handle"
        "(func $misbehave (i32.store8 (i32.const 0x28) (i32.const 1)) (i32.store (i32.const 0x2c) (i32.const 12345)))"
        [] => "hostile-no-handle: POST /: trapped: ";
    returns_its_input_as_its_response: "other-handle"
        "(func $misbehave
            (i32.store8 (i32.const 0x28) (i32.const 1))
            (i32.store (i32.const 0x2c) (global.get $reader))
            (call $forget))"
        [] => "hostile-other-handle: POST /: trapped: ";
    lets_go_of_its_input_twice: "drops-twice"
        "(func $misbehave (call $drop_input (global.get $reader)) (call $drop_input (global.get $reader)))"
        [] => "hostile-drops-twice: POST /: trapped: ";
    reads_from_an_input_that_it_has_let_go_of: "uses-after-drop"
        "(func $misbehave (call $drop_input (global.get $reader)) (drop (call $read (i32.const 5))))"
        [] => "hostile-uses-after-drop: POST /: trapped: ";
    calls_itself_without_end_and_without_a_stack: "tail-call"
        "(func $misbehave (return_call $misbehave))"
        CPU => "exhausted a limit: --limit-request-cpu 0.05 s";
    fills_its_memory_again_and_again: "fill"
        "(func $misbehave
            (drop (memory.grow (i32.const 500)))
            (loop $more
              (memory.fill (i32.const 0x30000) (i32.const 0x78) (i32.const 32000000))
              (br $more)))"
        CPU => "exhausted a limit: --limit-request-cpu 0.05 s";
}
