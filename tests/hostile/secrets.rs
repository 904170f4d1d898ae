//! What one request leaves behind, the next one does not find, in the same slot of the same worker.

use crate::harness::{Server, wat};

const SECRET: i32 = 20_251_125;

/// Writes a secret wherever it can, and says how many of these places have one.
fn keeper(name: &str) -> String {
    // A page far beyond what the guest uses, a page that it grows by, a global, a table's element, and its own log.
    wat(
        name,
        &format!(
            r#"
            (global $kept (mut i32) (i32.const 0))
            (table $elements 10 funcref)
            (elem declare func $nothing)
            (func $nothing)
            (func $grown (result i32)
              (i32.shl (i32.sub (memory.size) (i32.const 1)) (i32.const 16)))
            (func $call
              (drop (memory.grow (i32.const 20)))
              (drop (table.grow $elements (ref.null func) (i32.const 10)))
              (if (call $at "/write") (then
                (i32.store (i32.const 0x2f000) (i32.const {SECRET}))
                (i32.store (call $grown) (i32.const {SECRET}))
                (global.set $kept (i32.const {SECRET}))
                (table.set $elements (i32.const 5) (ref.func $nothing))
                (table.set $elements (i32.const 15) (ref.func $nothing))
                (call $body "written")
                (return)))
              (call $number (i32.add
                (i32.add
                  (i32.ne (i32.load (i32.const 0x2f000)) (i32.const 0))
                  (i32.ne (i32.load (call $grown)) (i32.const 0)))
                (i32.add
                  (i32.ne (global.get $kept) (i32.const 0))
                  (i32.add
                    (i32.eqz (ref.is_null (table.get $elements (i32.const 5))))
                    (i32.eqz (ref.is_null (table.get $elements (i32.const 15)))))))))"#
        ),
    )
}

/// Memory is reset in one way for small images and in another for large ones.
fn with_a_large_image(name: &str) -> String {
    let path = keeper(name);
    let text = std::fs::read_to_string(&path).expect("a guest is there");
    let large = text.replace("(memory (export \"memory\") 3)", "(memory (export \"memory\") 100)");
    assert_ne!(text, large);
    std::fs::write(&path, large).expect("the target directory can be written");
    path
}

#[test]
fn nothing_of_a_request_is_left_in_its_slot() {
    for app in [keeper("keeper-small"), with_a_large_image("keeper-large")] {
        let server = Server::start(&[&app, "-w", "1", "--max-instances", "1"]);
        for _ in 0..20 {
            assert_eq!(server.get("/write").text(), "written");
            assert_eq!(server.get("/read").text(), "0", "{app}");
        }
        // Where instances are kept, it is: all five places can be seen.
        let server = Server::start(&[&app, "-w", "1", "--max-requests", "0"]);
        assert_eq!(server.get("/write").text(), "written");
        let found: i32 = server.get("/read").text().parse().expect("a number");
        assert!(found >= 3, "{app}: {found}");
    }
}
