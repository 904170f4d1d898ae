//! What the log calls a request in a link. Nearly no request is ever written about, so the text is only put together when
//! it is.

use std::fmt;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct Label {
    link: Arc<str>,
    /// `GET /path`; none while the component starts.
    target: Option<Arc<str>>,
}

impl Label {
    pub fn new(link: &Arc<str>, target: &Arc<str>) -> Self {
        Self {
            link: link.clone(),
            target: Some(target.clone()),
        }
    }

    /// Of an instance that serves no request yet.
    pub fn start(link: &Arc<str>) -> Self {
        Self {
            link: link.clone(),
            target: None,
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.link, self.target.as_deref().unwrap_or("start"))
    }
}
