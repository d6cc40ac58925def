//! An HTTP client with cookies, as a person's browser would have.

use std::time::Duration;

use ureq::Agent;

/// Keeps cookies, follows no redirects, calls no status an error.
pub struct Browser {
    agent: Agent,
    base: String,
}

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The `Location` header.
    pub location: Option<String>,
    /// The `Retry-After` header.
    pub retry_after: Option<String>,
    /// The body, as text.
    pub body: String,
}

impl Browser {
    /// One that talks to `port` on this machine.
    pub fn new(port: u16) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build();
        Self {
            agent: config.new_agent(),
            base: format!("http://127.0.0.1:{port}"),
        }
    }

    /// GETs a path.
    ///
    /// # Errors
    /// When no answer came: refused, reset, timed out.
    pub fn get(&self, path: &str) -> Result<Answer, ureq::Error> {
        let url = format!("{}{path}", self.base);
        self.agent.get(url).call().and_then(Answer::read)
    }

    /// POSTs a form to a path.
    ///
    /// # Errors
    /// As [`Browser::get`].
    pub fn post(&self, path: &str, form: &[(&str, &str)]) -> Result<Answer, ureq::Error> {
        let url = format!("{}{path}", self.base);
        let form = form.iter().copied();
        self.agent.post(url).send_form(form).and_then(Answer::read)
    }

    /// The value of a hidden field of a form, as in
    /// `<input type="hidden" name="NAME" value="…">`.
    pub fn hidden(html: &str, name: &str) -> Option<String> {
        let from = html.find(&format!("name=\"{name}\""))?;
        let rest = html.get(from..)?;
        let value = rest.split_once("value=\"")?.1;
        Some(value.split_once('"')?.0.to_owned())
    }
}

impl Answer {
    fn read(mut response: ureq::http::Response<ureq::Body>) -> Result<Self, ureq::Error> {
        let header = |name| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let (location, retry_after) = (header("location"), header("retry-after"));
        let status = response.status().as_u16();
        // Told apart from no answer at all: a server that is killed while it
        // answers can do nothing about it, nor can what stands before it.
        let broke_off = |error: ureq::Error| {
            ureq::Error::Other(format!("the answer ({status}) broke off: {error}").into())
        };
        Ok(Self {
            status,
            location,
            retry_after,
            body: response.body_mut().read_to_string().map_err(broke_off)?,
        })
    }
}
