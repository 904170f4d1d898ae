//! The bench of servers still runs; how fast anything is, no test asks.

use std::process::Command;

use serde_json::Value;

use crate::harness::{guest, target, tools_path};

fn bench(arguments: &[&str]) -> Value {
    let directory = tempfile::tempdir().expect("a directory");
    let results = directory.path().join("results.json");
    let output = Command::new("benches/run")
        .args(["--no-build", "--smoke", "--json"])
        .arg(&results)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("PATH", tools_path())
        .env("WSGI_HOST_CACHE_DIR", target().join("test-cache"))
        .output()
        .expect("python3 is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = std::fs::read_to_string(results).expect("it has written what it found");
    serde_json::from_str(&text).expect("it is JSON")
}

/// What `tests/run` builds for the bench.
fn needed() {
    guest("bench/rust");
    guest("rust");
    let limit = target().join("release/bare-hyper");
    assert!(limit.exists(), "{} is missing: tests/run builds it", limit.display());
}

/// The rows of a measurement, by their names.
fn rows<'a>(results: &'a Value, measurement: &str) -> Vec<(&'a str, &'a Value)> {
    let tables = results["tables"].as_array().expect("a list");
    let table = tables.iter().find(|table| table["name"] == measurement);
    let rows = table.expect("what was asked for")["rows"].as_array().expect("a list");
    rows.iter()
        .map(|row| (row["name"].as_str().expect("a name"), row))
        .collect()
}

#[test]
fn every_contestant_is_measured_or_said_to_be_missing() {
    needed();
    let results = bench(&[
        "--contestants",
        "bare-hyper,wsgi-host/rust/,wasmtime-serve,granian/python",
    ]);
    let measured = rows(&results, "rates");
    for name in ["bare-hyper", "wsgi-host/rust/fresh", "wsgi-host/rust/kept"] {
        let row = measured.iter().find(|(measured, _)| *measured == name);
        let (_, row) = row.unwrap_or_else(|| panic!("{name} was not measured: {results}"));
        assert!(row["requests_per_second"].is_u64(), "{row}");
        assert_eq!(row["connections"], 64, "{row}");
    }
    // Not every machine has them.
    let missing = &results["tables"][0]["missing"];
    for name in [
        "wasmtime-serve/rust/fresh",
        "wasmtime-serve/rust/kept",
        "granian/python",
    ] {
        let is_measured = measured.iter().any(|(measured, _)| *measured == name);
        assert!(is_measured != missing[name].is_string(), "{name}: {results}");
    }
    for fact in ["cores", "processor", "kernel", "date"] {
        assert!(results["machine"][fact].is_string(), "{fact}: {results}");
    }
    assert!(results["machine"]["versions"]["wsgi-host"].is_string(), "{results}");
}

#[test]
fn memory_and_large_bodies_are_measured_too() {
    needed();
    let only = "transfer,connections,start";
    let results = bench(&["--only", only, "--contestants", "bare-hyper,wsgi-host/rust"]);
    for (name, row) in rows(&results, "transfer") {
        assert!(row["megabytes_per_second"].is_u64(), "{name}: {row}");
    }
    assert_eq!(rows(&results, "transfer").len(), 4, "{results}");
    let connections = rows(&results, "connections");
    let (_, row) = connections.last().expect("two rows");
    assert_eq!(row["connections"], 100, "{row}");
    assert_eq!(rows(&results, "start").len(), 2, "{results}");
}
