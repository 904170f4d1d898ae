//! Tries everything that WASI has, whether it was given or not, and answers with what came of it: a path for each try.

wit_bindgen::generate!({ path: "../../../wit", world: "app" });

use std::ffi::{CString, c_char, c_int};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use exports::wsgi::gateway::application::{Environ, Failure, Guest, GuestChunks, RequestBody, Response, ResponseBody};

struct App;

impl Guest for App {
    type Chunks = None;

    fn call(environ: Environ) -> Result<Response, Failure> {
        let path = environ.vars.iter().find(|(name, _)| name == "PATH_INFO");
        let path = path.map(|(_, value)| value.clone()).unwrap_or_default();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let answer = match parts[..] {
            ["good"] => return Ok(answer(read(environ.input))),
            ["environment"] => format!("{:?} {:?}", std::env::vars().collect::<Vec<_>>(), std::env::args()),
            ["input"] => outcome(std::io::stdin().read(&mut [0; 10])),
            ["files"] => hold_files(),
            ["fill"] => outcome(fill()),
            ["look", ..] => outcome(fs::read_to_string(path.trim_start_matches("/look"))),
            ["write", ..] => outcome(fs::write(path.trim_start_matches("/write"), "written")),
            ["link", ..] => outcome(link(path.trim_start_matches("/link"))),
            ["connect", address] => outcome(TcpStream::connect(address).and_then(greet)),
            ["listen", address] => outcome(TcpListener::bind(address)),
            ["send", address] => outcome(send(address)),
            ["resolve", name] => outcome(resolve(name)),
            ["sleep", seconds] => {
                std::thread::sleep(Duration::from_secs(seconds.parse().unwrap_or_default()));
                "awake".into()
            }
            ["spin"] => loop {
                std::hint::black_box(());
            },
            ["panic"] => panic!("deliberate"),
            ["clock"] => format!("{:?}", std::time::SystemTime::now()),
            _ => "nothing".into(),
        };
        Ok(self::answer(answer.into_bytes()))
    }
}

fn answer(body: Vec<u8>) -> Response {
    Response {
        status: 200,
        reason: String::new(),
        headers: Vec::new(),
        body: ResponseBody::Bytes(body),
    }
}

fn outcome<T: std::fmt::Debug>(result: std::io::Result<T>) -> String {
    match result {
        Ok(value) => format!("it could: {value:?}"),
        Err(error) => format!("it could not: {:?}", error.kind()),
    }
}

fn read(input: RequestBody) -> Vec<u8> {
    match input {
        RequestBody::Bytes(bytes) => bytes,
        RequestBody::Reader(reader) => {
            let mut all = Vec::new();
            while let Ok(block) = reader.read(65_536)
                && !block.is_empty()
            {
                all.extend(block);
            }
            all
        }
    }
}

/// Opens a file again and again, and closes none.
fn hold_files() -> String {
    let mut held = Vec::new();
    loop {
        match File::open("/data/file") {
            Ok(file) => held.push(file),
            Err(error) => return format!("{} files, then {:?}", held.len(), error.kind()),
        }
    }
}

/// Writes until there is no more room.
fn fill() -> std::io::Result<()> {
    let mut file = File::create("/data/large")?;
    loop {
        file.write_all(&[b'x'; 65_536])?;
    }
}

unsafe extern "C" {
    // Of wasi-libc; the standard library's own is not stable yet.
    fn symlink(to: *const c_char, path: *const c_char) -> c_int;
}

/// Makes a link in its directory to a path, and reads through it.
fn link(to: &str) -> std::io::Result<String> {
    let _ = fs::remove_file("/data/link");
    let to = CString::new(to)?;
    // SAFETY: both are strings that end with NUL.
    if unsafe { symlink(to.as_ptr(), c"/data/link".as_ptr()) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    fs::read_to_string("/data/link")
}

fn greet(mut stream: TcpStream) -> std::io::Result<String> {
    stream.write_all(b"hello")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn send(address: &str) -> std::io::Result<usize> {
    UdpSocket::bind("0.0.0.0:0")?.send_to(b"hello", address)
}

fn resolve(name: &str) -> std::io::Result<Vec<String>> {
    Ok((name, 0)
        .to_socket_addrs()?
        .map(|address| address.ip().to_string())
        .collect())
}

/// It never returns an iterable.
enum None {}

impl GuestChunks for None {
    fn next(&self) -> Result<Option<Vec<u8>>, String> {
        match *self {}
    }

    fn close(&self) {}
}

export!(App);
