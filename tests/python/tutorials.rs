//! The apps of Flask's and Django's tutorials, as their documentation writes them, and their data.

use std::process::Command;

use super::{project, python, serve};
use crate::harness::Server;

/// Somebody who follows links, fills in forms, and keeps cookies.
struct Person {
    cookies: tempfile::NamedTempFile,
}

impl Person {
    fn new() -> Self {
        Self {
            cookies: tempfile::NamedTempFile::new().unwrap(),
        }
    }

    fn get(&self, server: &Server, target: &str) -> String {
        self.ask(server, target, &[])
    }

    /// Sends a form, and sees the page that this leads to.
    fn send(&self, server: &Server, target: &str, fields: &[(&str, &str)]) -> String {
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let arguments: Vec<_> = fields.iter().flat_map(|field| ["--data-urlencode", field]).collect();
        self.ask(server, target, &arguments)
    }

    fn ask(&self, server: &Server, target: &str, arguments: &[&str]) -> String {
        let output = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--location",
                "--max-time",
                "300",
                "--noproxy",
                "*",
            ])
            .arg("--cookie")
            .arg(self.cookies.path())
            .arg("--cookie-jar")
            .arg(self.cookies.path())
            .args(arguments)
            .arg(format!("http://{}{target}", server.address()))
            .output()
            .expect("curl is installed: tests/install does that");
        assert!(
            output.status.success(),
            "{target}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("a page is text")
    }
}

fn contains(page: &str, text: &str) {
    assert!(page.contains(text), "{text:?} is not in {page}");
}

#[test]
fn flaskr() {
    let project = project("flaskr");
    python(project.path(), &["-m", "flask", "--app", "flaskr", "init-db"]);
    let arguments = ["flaskr:create_app()", "--dir", "instance"];
    let mut server = serve(project.path(), &arguments);
    let person = Person::new();
    contains(&person.get(&server, "/hello"), "Hello, World!");
    contains(&person.get(&server, "/static/style.css"), "{");
    contains(
        &person.send(&server, "/auth/login", &[("username", "ada"), ("password", "x")]),
        "Incorrect username.",
    );
    contains(
        &person.send(
            &server,
            "/auth/register",
            &[("username", "ada"), ("password", "secret")],
        ),
        "Log In",
    );
    let page = person.send(
        &server,
        "/auth/register",
        &[("username", "ada"), ("password", "secret")],
    );
    contains(&page, "already registered");
    contains(
        &person.send(&server, "/auth/login", &[("username", "ada"), ("password", "wrong")]),
        "Incorrect password.",
    );
    contains(
        &person.send(&server, "/auth/login", &[("username", "ada"), ("password", "secret")]),
        "Log Out",
    );
    let page = person.send(&server, "/create", &[("title", "First post"), ("body", "Grüße & <b>")]);
    contains(&page, "First post");
    contains(&page, "Grüße &amp; &lt;b&gt;");
    let page = person.send(
        &server,
        "/1/update",
        &[("title", "Second thoughts"), ("body", "Better")],
    );
    contains(&page, "Second thoughts");
    assert_eq!(server.stop().code(), Some(0));

    // Another server, and another visitor.
    let server = serve(project.path(), &arguments);
    let page = Person::new().get(&server, "/");
    contains(&page, "Second thoughts");
    contains(&page, "by ada");
    // The session is in the cookie, and its key in the app.
    contains(&person.get(&server, "/"), "Log Out");
    let page = person.ask(&server, "/1/delete", &["--data", ""]);
    assert!(!page.contains("Second thoughts"), "{page}");
}

#[test]
fn polls() {
    let project = project("polls");
    let add = "from django.utils import timezone; from polls.models import Question; \
               q = Question.objects.create(question_text=\"What's new?\", pub_date=timezone.now()); \
               q.choice_set.create(choice_text='Not much'); q.choice_set.create(choice_text='The sky')";
    python(project.path(), &["manage.py", "migrate", "--verbosity", "0"]);
    python(
        project.path(),
        &["manage.py", "flush", "--no-input", "--verbosity", "0"],
    );
    python(
        project.path(),
        &["manage.py", "shell", "--verbosity", "0", "--command", add],
    );
    let arguments = ["mysite.wsgi", "--dir", "."];
    let mut server = serve(project.path(), &arguments);
    let person = Person::new();
    contains(&person.get(&server, "/polls/"), "What&#x27;s new?");
    let id = {
        let page = person.get(&server, "/polls/");
        let rest = page.split_once("href=\"/polls/").expect("a link").1;
        rest.split('/').next().expect("a number").to_owned()
    };
    let form = person.get(&server, &format!("/polls/{id}/"));
    contains(&form, "The sky");
    let token = between(&form, "name=\"csrfmiddlewaretoken\" value=\"", "\"");
    let choice = between(form.split_once("Not much").expect("a choice").1, "value=\"", "\"");
    let vote = format!("/polls/{id}/vote/");
    let page = person.send(&server, &vote, &[("csrfmiddlewaretoken", token), ("choice", choice)]);
    contains(&page, "The sky -- 1 vote");
    // Without the token, Django does not listen.
    contains(&Person::new().send(&server, &vote, &[("choice", choice)]), "CSRF");
    assert_eq!(server.stop().code(), Some(0));

    let server = serve(project.path(), &arguments);
    contains(
        &Person::new().get(&server, &format!("/polls/{id}/results/")),
        "The sky -- 1 vote",
    );
    // Templates and static files of a package.
    contains(&Person::new().get(&server, "/admin/"), "Django administration");
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let rest = text
        .split_once(start)
        .unwrap_or_else(|| panic!("{start:?} is not in {text}"))
        .1;
    rest.split(end).next().expect("a split has a first part")
}
