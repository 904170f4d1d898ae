//! What a request may measure, and what is done about names that apps cannot tell apart.

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::units;

/// More than the parser's table of fields can hold.
const MAX_FIELDS: usize = 16_384;

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "Requests")]
pub struct Options {
    /// The longest request line, in bytes: method, target and version.
    #[arg(long, default_value_t = 4094, value_name = "BYTES")]
    pub limit_request_line: usize,

    /// How many header fields a request may have, and how many trailer fields.
    #[arg(long, default_value = "100", value_parser = fields, value_name = "N")]
    pub limit_request_fields: usize,

    /// The longest header field, trailer field, or line between two chunks, in bytes and with its end.
    #[arg(
        long = "limit-request-field_size",
        visible_alias = "limit-request-field-size",
        default_value_t = 8190,
        value_name = "BYTES"
    )]
    pub limit_request_field_size: usize,

    /// The largest request body, in bytes, with K, M or G; 0: no limit.
    #[arg(long, default_value = "1G", value_parser = units::bytes, value_name = "SIZE")]
    pub limit_request_body: u64,

    /// What becomes of header fields with `_` in their names, which an app cannot tell from those with `-`.
    #[arg(long, value_enum, default_value_t = Underscores::Drop, value_name = "WHAT")]
    pub header_map: Underscores,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Underscores {
    /// The app does not see them.
    Drop,
    /// The request is refused.
    Refuse,
    /// The app sees them as if they had `-`: whoever may send them may say what only a proxy should.
    Dangerous,
}

impl Options {
    /// The most that a whole head may measure.
    pub fn head_bytes(&self) -> usize {
        let fields = self.limit_request_fields.saturating_mul(self.limit_request_field_size);
        self.limit_request_line
            .saturating_add(fields)
            .saturating_add("\r\n\r\n".len())
    }
}

fn fields(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| *count <= MAX_FIELDS);
    count.ok_or_else(|| format!("'{text}' is not a number from 0 to {MAX_FIELDS}"))
}
