//! Takes the parameters of TLS out of the name of a database.
//!
//! The rest goes to tokio-postgres as it is, with its mistakes, since that tells of them. So this follows its reading of names
//! exactly: otherwise a mode could be taken for a part of something else, and nothing be encrypted.

use anyhow::ensure;
use percent_encoding::percent_decode_str;

/// A name of a database, divided.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    /// The name without the others.
    pub rest: String,
    /// `sslmode`.
    pub ssl_mode: Option<String>,
    /// `sslrootcert`.
    pub root_certificates: Option<String>,
}

impl Parameters {
    /// Divides a name. Of a parameter that is there twice the last one holds, as in libpq.
    pub fn take(name: &str) -> anyhow::Result<Self> {
        let mut parameters = Self::default();
        if name.starts_with("postgres://") || name.starts_with("postgresql://") {
            parameters.take_from_url(name);
            return Ok(parameters);
        }
        // Pairs begin with a key, and a key has none of these.
        let first = name.find(['=', ':', '/', '@', '?']).and_then(|at| name[at..].chars().next());
        ensure!(
            first == Some('='),
            "the database URL has no scheme that is known here; write postgres://USER:PASSWORD@HOST:5432/DATABASE, or pairs \
             such as host=HOST user=USER dbname=DATABASE"
        );
        parameters.take_from_pairs(name);
        Ok(parameters)
    }

    /// Returns whether it keeps the value, because the key is one of its own.
    fn keep(&mut self, key: &str, value: &str) -> bool {
        let place = match key {
            "sslmode" => &mut self.ssl_mode,
            "sslrootcert" => &mut self.root_certificates,
            _ => return false,
        };
        *place = Some(value.to_owned());
        true
    }

    fn take_from_url(&mut self, url: &str) {
        // The user and the password may contain a question mark.
        let host = url.find('@').map_or(0, |at| at + 1);
        let Some(at) = url[host..].find('?').map(|at| host + at) else {
            url.clone_into(&mut self.rest);
            return;
        };
        let decode = |text: &str| percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned);
        let mut others = url[at + 1..].split('&').collect::<Vec<_>>();
        others.retain(|parameter| {
            let pair = parameter.split_once('=').and_then(|(key, value)| Some((decode(key)?, decode(value)?)));
            !pair.is_some_and(|(key, value)| self.keep(&key, &value))
        });
        url[..at].clone_into(&mut self.rest);
        if !others.is_empty() {
            self.rest.push('?');
            self.rest.push_str(&others.join("&"));
        }
    }

    fn take_from_pairs(&mut self, pairs: &str) {
        let mut left = pairs;
        while let Some((key, value, after)) = pair(left) {
            if !self.keep(key, &value) {
                self.rest.push_str(&left[..left.len() - after.len()]);
            }
            left = after;
        }
        self.rest.push_str(left);
    }
}

/// Reads a pair at the begin of `pairs`: its key, its value, and what comes after it. `None` at the end, and for what is no pair.
fn pair(pairs: &str) -> Option<(&str, String, &str)> {
    let (key, value) = pairs.split_once('=')?;
    let key = key.trim();
    if key.is_empty() || key.contains(char::is_whitespace) {
        return None;
    }
    let value = value.trim_start();
    let is_quoted = value.starts_with('\'');
    let mut text = String::new();
    let mut characters = value.char_indices().skip(usize::from(is_quoted));
    while let Some((at, character)) = characters.next() {
        match character {
            '\'' if is_quoted => return Some((key, text, &value[at + 1..])),
            '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
            character if character.is_whitespace() && !is_quoted => return Some((key, text, &value[at..])),
            character => text.push(character),
        }
    }
    // A quote that nothing closes is for the next reader to tell.
    (!is_quoted).then_some((key, text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameters_of_tls_are_taken_and_nothing_else_is_touched() {
        for (name, rest, ssl_mode, root_certificates) in [
            ("postgres://u:p@h/d", "postgres://u:p@h/d", None, None),
            ("postgres://h?sslmode=require", "postgres://h", Some("require"), None),
            (
                "postgresql://u:a?sslmode=b@h/d?sslmode=verify-full&options=-c%20x&sslrootcert=/etc/my%20ca.crt",
                "postgresql://u:a?sslmode=b@h/d?options=-c%20x",
                Some("verify-full"),
                Some("/etc/my ca.crt"),
            ),
            ("postgres://h/d?sslmode=disable&a=b&sslmode=require", "postgres://h/d?a=b", Some("require"), None),
            ("postgres://h/d?broken", "postgres://h/d?broken", None, None),
            ("host=h sslmode=require dbname=d", "host=h dbname=d", Some("require"), None),
            (
                r"sslrootcert = '/my \'ca\'.crt' password='a sslmode=b' sslmode= verify-ca",
                r" password='a sslmode=b'",
                Some("verify-ca"),
                Some("/my 'ca'.crt"),
            ),
            (r"password=a\ b sslmode=require", r"password=a\ b", Some("require"), None),
            ("host=h password='open sslmode=require", "host=h password='open sslmode=require", None, None),
            ("host=h stray sslmode=require", "host=h stray sslmode=require", None, None),
        ] {
            let expected = Parameters {
                rest: rest.to_owned(),
                ssl_mode: ssl_mode.map(str::to_owned),
                root_certificates: root_certificates.map(str::to_owned),
            };
            assert_eq!(Parameters::take(name).unwrap(), expected, "{name}");
        }
    }
}
